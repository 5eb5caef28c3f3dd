"use strict";
// The map: land and grid on the canvas, chips as squares written pixel by pixel, so that two million take a moment.
const map = (async () => {
  const element = document.getElementById("map-data");
  if (!element) return null;
  const data = JSON.parse(element.textContent);
  const by = (id) => document.getElementById(id);
  const canvas = by("canvas"), context = canvas.getContext("2d");
  const STEPS = 65536;                       // of outlines, along the frame's side
  const { side, view } = data.frame;         // metres

  const types = { Uint8Array, Uint16Array, Uint32Array, Float32Array };
  async function unpack({ type, differences, data }) {       // `packed` of curate.catalog.page, undone
    const text = atob(data), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(inflated).arrayBuffer());
    const size = types[type].BYTES_PER_ELEMENT, number = planes.length / size, woven = new Uint8Array(planes.length);
    for (let b = 0, at = 0; b < size; b++) for (let i = b; at < number * (b + 1); i += size, at++) woven[i] = planes[at];
    const values = new types[type](woven.buffer);
    if (differences) for (let i = 1; i < number; i++) values[i] += values[i - 1];
    return values;
  }

  // outlines, in metres of the frame (x to the right, y downwards)
  async function paths({ lengths, places }) {
    const [ends, xy] = await Promise.all([unpack(lengths), unpack(places)]), path = new Path2D();
    for (let i = 0, at = 0; i < ends.length; i++) {
      for (let j = 0; j < ends[i]; j++, at += 2) path[j ? "lineTo" : "moveTo"](xy[at], xy[at + 1]);
    }
    return path;
  }
  const [land, graticule, corners] = await Promise.all([paths(data.coast), paths(data.graticule), unpack(data.cells.corners)]);
  const layers = await Promise.all(Object.entries(data.layers).map(async ([name, layer]) => ({
    name, kinds: layer.kinds, steps: layer.steps, cell: side / layer.steps, every: layer.every,
    dot: (name === "pool" ? 5 : 6) - [2000, 20000, 200000].filter((many) => layer.rows > many).length,  // least side, px
    x: await unpack(layer.x), y: await unpack(layer.y), kind: await unpack(layer.kind), count: await unpack(layer.count),
    shown: new Uint8Array(layer.kinds.length).fill(1), colour: new Uint32Array(layer.kinds.length),
  })));

  // filters: columns of the table of kinds
  const FIELDS = ["climate", "cover", "orbit", "season", "split"];
  const selects = Object.fromEntries(FIELDS.map((name) => [name, by("f-" + name)]));
  const listeners = [];
  const orders = { climate: data.climates.map((c) => c[0]), cover: data.covers.map((c) => c[0]),
    split: data.splits.map((c) => c[0]), season: ["winter", "spring", "summer", "autumn"] };
  FIELDS.forEach((name, field) => {
    const present = new Set(layers.flatMap((l) => l.kinds.map((k) => k[field])).filter(Boolean));
    const order = (orders[name] || []).filter((v) => present.delete(v)).concat([...present].sort());
    const groups = name === "climate" ? [...new Set(order.filter((v) => v !== "none").map((v) => v[0]))] : [];
    groups.filter((g) => order.filter((v) => v[0] === g).length > 1).forEach((g) => add(g + "*", g + ": all"));
    order.forEach((value) => add(value, value));
    function add(value, label) { selects[name].add(new Option(label, value)); }
    selects[name].disabled = order.length < 2;
    selects[name].addEventListener("change", filter);
  });
  const passes = (want, value) => !want || value === want || (want.endsWith("*") && value[0] === want[0]);
  const wanted = () => Object.fromEntries(FIELDS.map((name) => [name, selects[name].value]));

  function filter() {
    const want = wanted();
    for (const layer of layers) {
      layer.kinds.forEach((kind, i) => { layer.shown[i] = FIELDS.every((name, f) => passes(want[name], kind[f])); });
    }
    const totals = layers.map((layer) => {
      let all = 0, shown = 0;
      for (let i = 0; i < layer.kind.length; i++) {
        all += layer.count[i];
        if (layer.shown[layer.kind[i]]) shown += layer.count[i];
      }
      const about = layer.every > 1 ? "about " : "", said = (n) => (layer.every > 1 ? +(n * layer.every).toPrecision(3) : n).toLocaleString("en");
      return `${about}${said(shown)} of ${said(all)} ${layer.name === "pool" ? "candidates" : "chips"}`;
    });
    by("count").textContent = totals.reverse().join(", ");
    colours();
    listeners.forEach((listen) => listen(want, passes));
  }

  // colours
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function abgr(hex, alpha = 255) {
    const n = parseInt(hex.slice(1), 16);
    return ((alpha << 24) | ((n & 255) << 16) | (n & 0xff00) | (n >> 16)) >>> 0;
  }
  function colours() {
    const mode = by("colour").value, pool = css("--pool"), accent = css("--accent");
    const named = { climate: new Map(data.climates), cover: new Map(data.covers),
      split: new Map(data.splits.map(([name]) => [name, css("--" + name)])) };
    const field = FIELDS.indexOf(mode);
    for (const layer of layers) {
      layer.kinds.forEach((kind, i) => {
        const plain = layer.name === "pool" ? pool : accent;
        const hex = field < 0 || (layer.name === "pool" && mode === "split") ? plain : named[mode].get(kind[field]) || plain;
        layer.colour[i] = abgr(hex, layer.name === "pool" && field >= 0 && mode !== "split" ? 70 : 255);
      });
    }
    const entries = field < 0 ? layers.map((l) => [l.name === "pool" ? "candidates" : "drawn chips", l.name === "pool" ? pool : accent]) :
      [...named[mode]].filter(([name]) => layers.at(-1).kinds.some((k) => k[field] === name));
    if (mode === "split" && layers.length > 1) entries.push(["candidates", pool]);
    const gathered = layers.filter((l) => l.cell > data.chip_m).map((l) => `${l.name}: squares of ${metres(l.cell)} gather chips`);
    gathered.push(...layers.filter((l) => l.every > 1).map((l) => `${l.name}: one chip of every ${l.every} is shown`));
    const grid = `grid of ${data.cells.spacing_km} km, ${data.cells.number.toLocaleString("en")} cells with chips, when near`;
    by("legend").replaceChildren(...entries.map(([name, hex]) => item(name, hex)), ...[grid, ...gathered].map((t) => item(t)));
    draw();
  }
  function item(name, hex) {
    const li = document.createElement("li");
    if (hex) { const i = document.createElement("i"); i.style.background = hex; li.append(i); }
    li.append(name);
    return li;
  }

  // view: centre in metres of the frame, and metres a CSS pixel
  const home = () => ({ x: view[0] + view[2] / 2, y: view[1] + view[3] / 2,
    scale: Math.max(view[2] / canvas.clientWidth, view[3] / canvas.clientHeight) });
  let at = null, asked = false;
  const points = document.createElement("canvas"), pen = points.getContext("2d");
  function draw() {
    if (!asked) { asked = true; requestAnimationFrame(paint); }
  }
  function paint() {
    asked = false;
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (!at) at = home();
    const w = Math.round(width * ratio), h = Math.round(height * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = points.width = w; canvas.height = points.height = h; }
    const k = side / STEPS / at.scale * ratio;                       // device pixels a step
    const ox = w / 2 - at.x / at.scale * ratio, oy = h / 2 - at.y / at.scale * ratio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = css("--sea");
    context.fillRect(0, 0, w, h);
    context.setTransform(k, 0, 0, k, ox, oy);
    context.fillStyle = css("--land");
    context.fill(land);
    context.lineWidth = ratio / k * 0.8;
    context.strokeStyle = css("--coast");
    context.stroke(land);
    context.lineWidth = ratio / k * 0.5;
    context.strokeStyle = css("--line");
    context.stroke(graticule);
    context.setTransform(1, 0, 0, 1, 0, 0);
    scatter(w, h, ratio, ox, oy);
    if (data.cells.spacing_km * 1000 / at.scale > 6) grid(k, ox, oy, w, h, ratio);
    bar(width);
  }
  function grid(k, ox, oy, w, h, ratio) {
    context.beginPath();
    for (let i = 0; i < corners.length; i += 8) {
      const x = corners[i] * k + ox, y = corners[i + 1] * k + oy;
      if (x < -999 || y < -999 || x > w + 999 || y > h + 999) continue;
      context.moveTo(x, y);
      for (let j = 2; j < 8; j += 2) context.lineTo(corners[i + j] * k + ox, corners[i + j + 1] * k + oy);
      context.closePath();
    }
    context.lineWidth = ratio;
    context.strokeStyle = css("--soft");
    context.globalAlpha = 0.55;
    context.stroke();
    context.globalAlpha = 1;
  }
  function scatter(w, h, ratio, ox, oy) {
    const image = pen.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    for (const layer of layers) {
      const { x, y, kind, shown, colour } = layer;
      const step = layer.cell / at.scale * ratio, size = Math.max(layer.cell, data.chip_m);
      const box = Math.max(Math.round(size / at.scale * ratio), Math.round(layer.dot * ratio));
      const half = box >> 1, gap = box > 12 * ratio ? Math.round(ratio) : 0;
      for (let i = 0; i < x.length; i++) {
        if (!shown[kind[i]]) continue;
        const left = Math.round((x[i] + 0.5) * step + ox) - half, top = Math.round((y[i] + 0.5) * step + oy) - half;
        if (left >= w || top >= h || left + box <= 0 || top + box <= 0) continue;
        const c = colour[kind[i]], x1 = Math.min(left + box - gap, w), y1 = Math.min(top + box - gap, h);
        for (let v = Math.max(top, 0); v < y1; v++) pixels.fill(c, v * w + Math.max(left, 0), v * w + x1);
      }
    }
    pen.putImageData(image, 0, 0);
    context.drawImage(points, 0, 0);
  }
  const metres = (m) => m < 1000 ? `${+m.toPrecision(2)} m` : `${(+(m / 1000).toPrecision(2)).toLocaleString("en")} km`;
  function bar(width) {
    const most = Math.min(140, width / 4) * at.scale, power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
    const rule = document.createElement("i");
    rule.style.width = `${length / at.scale}px`;
    by("scale").replaceChildren(rule, metres(length));
  }

  function move(dx, dy) { at.x -= dx * at.scale; at.y -= dy * at.scale; draw(); }
  function zoom(factor, px = canvas.clientWidth / 2, py = canvas.clientHeight / 2) {
    const dx = px - canvas.clientWidth / 2, dy = py - canvas.clientHeight / 2;
    const least = data.chip_m / 60, most = home().scale * 2.5, scale = Math.min(Math.max(at.scale / factor, least), most);
    at.x += dx * (at.scale - scale); at.y += dy * (at.scale - scale); at.scale = scale;
    draw();
  }

  // what is at a place of the canvas
  function inspect(px, py) {
    const mx = at.x + (px - canvas.clientWidth / 2) * at.scale, my = at.y + (py - canvas.clientHeight / 2) * at.scale;
    let best = null, least = 14 * at.scale;
    for (const layer of [...layers].reverse()) {
      for (let i = 0; i < layer.x.length; i++) {
        if (!layer.shown[layer.kind[i]]) continue;
        const d = Math.hypot((layer.x[i] + 0.5) * layer.cell - mx, (layer.y[i] + 0.5) * layer.cell - my);
        if (d < least) { least = d; best = [layer, i]; }
      }
      if (best) break;
    }
    if (!best) { by("inspect").replaceChildren(); return; }
    const [layer, i] = best, kind = layer.kinds[layer.kind[i]];
    const [lon, lat] = inverse((layer.x[i] + 0.5) * layer.cell, (layer.y[i] + 0.5) * layer.cell);
    const facts = [["place", `${Math.abs(lat).toFixed(3)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(3)}° ${lon < 0 ? "W" : "E"}`],
      [layer.name === "pool" ? "candidates" : "drawn", layer.count[i].toLocaleString("en")],
      ...FIELDS.map((name, f) => [name === "cover" ? "land cover" : name === "orbit" ? `${data.orbit_of} orbit`.trim() : name, kind[f]])];
    const list = document.createElement("dl");
    list.className = "listing";
    for (const [name, value] of facts.filter((f) => f[1])) {
      list.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value }));
    }
    by("inspect").replaceChildren(list);
  }
  function inverse(x, y) {
    const R = 6371008.8, deg = 180 / Math.PI, X = data.frame.left + x, Y = data.frame.top - y;
    if (!data.frame.azimuthal) return [X / R * deg, Y / R * deg];
    const [lon0, lat0] = data.frame.azimuthal.map((d) => d / deg);   // Snyder 1987, equations 24-26 and 20-14
    const rho = Math.hypot(X, Y), c = 2 * Math.asin(Math.min(rho / 2 / R, 1));
    if (!rho) return [lon0 * deg, lat0 * deg];
    const lat = Math.asin(Math.cos(c) * Math.sin(lat0) + Y * Math.sin(c) * Math.cos(lat0) / rho);
    const lon = lon0 + Math.atan2(X * Math.sin(c), rho * Math.cos(lat0) * Math.cos(c) - Y * Math.sin(lat0) * Math.sin(c));
    return [((lon * deg + 540) % 360) - 180, lat * deg];
  }

  // hands
  const pointers = new Map();
  let moved = 0;
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, place(event)); moved = 0; });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = place(event), others = [...pointers].filter(([id]) => id !== event.pointerId).map((p) => p[1]);
    moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    if (others.length) {
      const [o] = others, was = Math.hypot(before[0] - o[0], before[1] - o[1]), is = Math.hypot(now[0] - o[0], now[1] - o[1]);
      if (was > 0) zoom(is / was, (now[0] + o[0]) / 2, (now[1] + o[1]) / 2);
    } else move(now[0] - before[0], now[1] - before[1]);
    pointers.set(event.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      if (name === "pointerup" && pointers.size === 1 && moved < 6) inspect(...place(event));
      pointers.delete(event.pointerId);
    });
  }
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(2 ** (-event.deltaY / 240), ...place(event)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
      "+": () => zoom(1.6), "=": () => zoom(1.6), "-": () => zoom(1 / 1.6), 0: () => { at = home(); draw(); },
      Enter: () => inspect(canvas.clientWidth / 2, canvas.clientHeight / 2), Escape: () => by("inspect").replaceChildren() };
    if (keys[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
  });
  by("zoom-in").addEventListener("click", () => zoom(1.8));
  by("zoom-out").addEventListener("click", () => zoom(1 / 1.8));
  by("zoom-home").addEventListener("click", () => { at = home(); draw(); });
  by("colour").addEventListener("change", colours);
  by("clear").addEventListener("click", () => { FIELDS.forEach((name) => { selects[name].value = ""; }); filter(); });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colours);
  addEventListener("beforeprint", () => { colours(); paint(); });

  filter();
  return { listen(listener) { listeners.push(listener); listener(wanted(), passes); }, get view() { return at && { ...at }; } };
})();
map.catch((error) => { document.getElementById("count").textContent = `The map cannot be drawn: ${error.message}`; });
