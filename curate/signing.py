"""Signing at read time: Planetary Computer's blobs are read with tokens that last under an hour.

A signed href is for the next read only. It is never written into a table, a message or a log.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

import urllib3

from curate.catalog.errors import InputError

TOKENS = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
TOKENS_VARIABLE = "PC_SDK_SAS_URL"  # the names that the planetary-computer package uses
KEY_VARIABLE = "PC_SDK_SUBSCRIPTION_KEY"
_BLOBS = ".blob.core.windows.net"
_LEFT_S = 300.0  # of a signature that is kept
_SAS = frozenset(  # members of a query that is signed with ``sig``
    "sig se sp sv sr st ss srt spr sip si ses sdd saoid suoid scid skoid sktid skt ske sks skv".split()  # noqa: SIM905
)
_OLD_AWS = frozenset(  # signed with ``Signature``
    ("signature", "expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "policy")
)
_PREFIXES = ("x-amz-", "x-goog-")
_PERSON = re.compile(r"(?<=://)[^\s/?#@'\"<>]*:[^\s/?#@'\"<>]*@")
_QUERY = re.compile(r"\?([^\s?#'\"<>]+?)(?=[.,:;)\]]*(?:[\s#'\"<>]|$))")
_FRESH = 0.8  # share of its life after which a token is replaced
_TRIES = 3  # some tokens arrive expired
_WAIT_S = 0.5


@dataclass(frozen=True)
class _Token:
    query: str  # empty: the container needs none
    until: float  # seconds since 1970


@dataclass
class Signer:
    """Signs hrefs of Azure blobs with one token per container, kept until 80 % of its life is over."""

    tokens: str = TOKENS
    key: str | None = None  # subscription key: a higher rate limit, nothing else
    now: Callable[[], float] = time.time
    _kept: dict[tuple[str, str], _Token] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def sign(self, href: str) -> str:
        """*href* with a token that is valid now; unchanged where it is no Azure blob.

        A signature that it has stays while it is valid, and where there is no token for its container.

        Raises:
            InputError: there is no valid token to be had.
        """
        parts = urlsplit(href)
        host, container = parts.hostname or "", parts.path.lstrip("/").partition("/")[0]
        if not host.endswith(_BLOBS) or not container or self._holds(parts.query):
            return href
        bare = unsigned(href)
        try:
            token = self._token(host.removesuffix(_BLOBS), container)
        except InputError:
            if bare == href:
                raise
            return href  # perhaps it holds after all
        return f"{bare}{'&' if '?' in bare else '?'}{token}" if token else href

    def _holds(self, query: str) -> bool:
        """Whether *query* has a signature that is valid for some time to come."""
        said = dict(parse_qsl(query))
        try:
            ends = dt.datetime.fromisoformat(said["se"])
        except (KeyError, ValueError):
            return False
        ends = ends if ends.tzinfo else ends.replace(tzinfo=dt.UTC)
        return "sig" in said and ends.timestamp() - _LEFT_S > self.now()

    def _token(self, account: str, container: str) -> str:
        with self._lock:  # held while asking: one request per container, however many threads wait for it
            kept = self._kept.get((account, container))
            if kept is None or self.now() >= kept.until:
                kept = self._kept[account, container] = self._ask(account, container)
        return kept.query

    def _ask(self, account: str, container: str) -> _Token:
        url = f"{self.tokens.rstrip('/')}/{account}/{container}"
        why = ""
        for attempt in range(_TRIES):
            time.sleep(_WAIT_S * attempt)
            asked = self.now()
            try:
                answer = _http().request(
                    "GET", url, headers={"Ocp-Apim-Subscription-Key": self.key} if self.key else {}
                )
                if answer.status == 404:
                    return _Token("", asked + 3600.0)  # another account's container, perhaps a public one
                if answer.status != 200:
                    why = f"HTTP {answer.status}"
                    continue
                said = json.loads(answer.data)
                ends = dt.datetime.fromisoformat(said["msft:expiry"]).timestamp()
                query = str(said["token"])
            except urllib3.exceptions.HTTPError as error:
                why = f"no connection ({type(error).__name__})"
            except (ValueError, KeyError, TypeError):
                why = "the answer holds no token"
            else:
                if ends > self.now():
                    return _Token(query, asked + _FRESH * (ends - asked))
                why = f"the token has expired at {said['msft:expiry']}"
        raise InputError(
            f"No token for container {container} of {account} can be had from {self.tokens}",
            why,
            f"Try again later, or set {KEY_VARIABLE} to a subscription key",
        )


def sign(href: str) -> str:
    """*href* as it can be read now, by the endpoint and key that the environment names."""
    return _signer(os.environ.get(TOKENS_VARIABLE, TOKENS), os.environ.get(KEY_VARIABLE)).sign(href)


def unsigned(href: str) -> str:
    """*href* without signature, user and password: what may be written into a table."""
    if "?" not in href and "@" not in href:
        return href
    head, _, rest = href.partition("?")
    query, mark, fragment = rest.partition("#")
    kept = _without_secrets(query)
    if kept == query:
        return _PERSON.sub("", href)
    return f"{_PERSON.sub('', head)}{'?' if kept else ''}{kept}{mark}{fragment}"


def hide(text: str) -> str:
    """*text* without the signatures, users and passwords of hrefs in it, for messages."""

    def clean(found: re.Match[str]) -> str:
        kept = _without_secrets(found[1])
        return f"?{kept}" if kept else ""

    return _QUERY.sub(clean, _PERSON.sub("", text))


def _without_secrets(query: str) -> str:
    """The members of *query* that are no part of a signature, as they are written."""
    members = query.split("&")
    names = [one.partition("=")[0].removeprefix("amp;").lower() for one in members]
    secret = (_SAS if "sig" in names else frozenset()) | (_OLD_AWS if "signature" in names else frozenset())
    pairs = zip(members, names, strict=True)
    return "&".join(one for one, name in pairs if name not in secret and not name.startswith(_PREFIXES))


@lru_cache(maxsize=4)
def _signer(tokens: str, key: str | None) -> Signer:
    return Signer(tokens, key)


@lru_cache(maxsize=1)
def _http() -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=10.0, read=30.0),
        retries=urllib3.Retry(
            4,
            backoff_factor=0.5,
            backoff_jitter=0.5,
            status_forcelist=(429, 502, 503, 504),
            raise_on_status=False,
        ),
    )
