"""The questions that `web_program` is asked, as bytes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

FORM = ("Content-Type: application/x-www-form-urlencoded",)
PART = (
    b'--b\r\nContent-Disposition: form-data; name="need"\r\n\r\nv\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n'
    b"Content-Type: text/x\r\n\r\nfile\r\n--b--\r\n"
)


def request(
    path: str,
    method: str = "GET",
    headers: tuple[str, ...] = (),
    body: bytes | None = None,
    host: str | None = "HOST.test",
    version: str = "1.1",
) -> bytes:
    lines = [f"{method} {path} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [*headers, "Connection: close"]
    chunked = any(h.startswith("Transfer-Encoding") for h in headers)
    if body is not None and not chunked:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def signed(key: str, number: int, name: str, value: str, at: int) -> str:
    """A value of version 2, written out by its documented form."""
    fields = [str(number), str(at), name, base64.b64encode(value.encode()).decode()]
    text = "2|" + "".join(f"{len(f)}:{f}|" for f in fields)
    return text + hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _arguments() -> list[bytes]:
    queries = ["", "?need=1", "?need=1&a=x&a=%20y%20&a=%00z", "?need=%ff"]
    queries += ["?need=1&a=%ff", "?need=", "?need=%20", "?need&a", "?need=1;a=2"]
    queries += ["?need=1&&a==b&=c", "?need=a%0ab%01c", "?need=+%2B"]
    found = [request(f"/arguments{query}") for query in queries]
    for query, kind, body in [
        ("?need=q&a=q", FORM, b"a=b&need=c&a=%ff"),
        ("?need=q&a=q", FORM, b"a=b&need=c&a=d"),
        ("?a=1", (FORM[0] + "; charset=utf-8",), b"need=1&a=2"),
        ("?need=1", (*FORM, "Content-Encoding: gzip"), b"a=1"),
        ("?need=1", ("Content-Type: multipart/form-data",), b"need=1&a=2"),
    ]:
        found.append(request(f"/arguments{query}", "POST", kind, body))
    for boundary in ("b", '"b"', "c", ""):
        kind = (f"Content-Type: multipart/form-data; boundary={boundary}",)
        for path in ("/arguments", "/request"):
            found.append(request(path, "POST", kind, PART))
    kind = ("Content-Type: multipart/form-data; boundary=b",)
    for body in (
        PART[:60],
        PART[:-6],
        b"--b\r\n\r\nx\r\n--b--",
        b'--b\r\nContent-Disposition: form-data; name="a\\"b"; filename="c:\\\\x.txt"'
        b"\r\n\r\nx\r\n--b--",
        b"--b\r\nContent-Disposition: form-data; name=f; "
        b"filename*=UTF-8''%e2%82%ac.txt\r\n\r\nx\r\n--b--",
        b"zz",
    ):
        found.append(request("/request", "POST", kind, body))
    # What a handler sees of a request whose form cannot be read.
    for method in ("POST", "GET", "HEAD", "OPTIONS", "BREW", "PROPFIND"):
        for path in ("/hooks", "/custom", "/kw/%ff/x", "/stream", "/nowhere"):
            found.append(request(path, method, kind, b"zz"))
            found.append(request("/told"))
    return found


def _cookies() -> list[bytes]:
    found = []
    for cookie in [
        *("a=b", "a=b; c=d", "a=b;c", 'a="q\\"x\\054"', "=x; a=", "a=b; a=c"),
        *("__proto__=1; a=\xe9", "$Version=1; a=b", "a=b,c=d", "a b=c", 'a="b', "; ;"),
    ]:
        found.append(request("/cookies", headers=(f"Cookie: {cookie}",)))
    found.append(request("/cookies", headers=("Cookie: a=1", "Cookie: b=2")))
    found.append(request("/cookies", "POST", body=b""))
    for how in ("value", "name", "semicolon", "attr"):
        found.append(request(f"/badcookie/{how}"))
    now = int(time.time())
    good = signed("one", 1, "s", "value", now)
    for value in [
        good,
        signed("zero", 0, "s", "value", now),
        signed("one", 2, "s", "value", now),
        signed("one", 1, "t", "value", now),
        signed("one", 1, "s", "value", now - 40 * 86400),
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        *("2|", "2|1:0|x", "3|1:0|x"),
    ]:
        found.append(request("/signed", headers=(f"Cookie: s={value}",)))
    return found


def _answers() -> list[bytes]:
    found = []
    for method in [
        *("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW", "get"),
        "PROPFIND",
    ]:
        body = b"x" if method in ("POST", "PUT", "PATCH") else None
        for path in ("/", "/request", "/custom"):
            found.append(request(path, method, body=body))
    for status in [
        *(100, 150, 199, 200, 201, 202, 204, 205, 206, 299, 301, 304, 400, 404, 405),
        *(416, 418, 500, 503, 599, 600, 999),
    ]:
        found.append(request(f"/status/{status}"))
    hows = {
        "raises": "http plain odd reason finish finish-value missing after-write 304 "
        "204 key",
        "afterflush": "header raise status redirect send_error two plain",
        "twice": "finish write flush redirect error raise none",
        "nonsense": "int str dict list true object",
        "writes": "none int list dict bytes unicode float",
        "types": "own clear int date add inject unicode list none bytes",
        "redirects": "perm status bad abs rel inject other",
    }
    for name, words in hows.items():
        for how in words.split():
            found.append(request(f"/{name}/{how}"))
            if name in ("raises", "writes"):
                found.append(request(f"/{name}/{how}", "HEAD"))
            if name == "afterflush":
                found.append(request(f"/{name}/{how}", version="1.0"))
    tag = f'"{hashlib.sha1(b"tagged").hexdigest()}"'
    for how in ("auto", "own", "weak", "none", "status"):
        for known in [
            *(None, '"own"', 'W/"own"', "*", '"x", "own"', "own", tag, f"W/{tag}")
        ]:
            kind = () if known is None else (f"If-None-Match: {known}",)
            for method in ("GET", "HEAD", "POST"):
                body = b"" if method == "POST" else None
                found.append(request(f"/etags/{how}", method, kind, body))
    return found


def _paths() -> list[bytes]:
    found = []
    for path in [
        *("/slash", "/slash/", "/slash?x=1", "/noslash", "/noslash/", "/noslash//"),
        *("/noslash/?a=b", "//evil", "//evil/", "//evil.test/evil", "///evil", "/evil"),
        *("/%2f/evil", "/\\evil", "/x//evil", "/login", "/login?a=b&c=%20"),
        *("/login/absolute", "/login/absolute?q=1"),
    ]:
        for method in ("GET", "HEAD", "POST"):
            body = b"" if method == "POST" else None
            found.append(request(path, method, body=body))
    for path in [
        *("/", "/nowhere", "/?a=1", "/reason", "/request?a=b&c=%C3%A9&a="),
        *("/request/%7Efoo/../x?", "/request%00", "/form", "/groups/5/x", "/groups/5/"),
        *("/groups/5", "/kw/a%20b/c%2Fd?e", "/kw//", "/kw/%ff/x", "/kw/a/%C3%A9"),
        *("/groups/5/%41", "/named/a/b", "/named/a%2fb/", "/urls", "/moved/a"),
        *("/moved/a%20b", "/moved/x?q=2", "/found", "/found?z=1", "/gone", "/wsgi"),
        *("/wsgi/a%20b", "/inner", "/inner/x", "/inner/x/y?z", "/innerx", "/detached"),
        *("/robots.txt", "/favicon.ico", "/stream", "/hooks", "/told", "/hooks?stop=1"),
        *("/told", "/hooks?fail=1", "/told", "/prepare", "/log", "/told", "/checks"),
        "/told",
    ]:
        found.append(request(path))
    for name in [
        *("page", "modules", "flow", "linkify", "broken", "syntax", "unclosed"),
        *("missing", "nofile"),
    ]:
        found.append(request(f"/page/{name}"))
    for host in ("other.test:8080", "UPPER.test", "[::1]:80", "other.test"):
        for path in ("/request", "/", "/only", "/nowhere"):
            found.append(request(path, host=host))
    found.append(request("/request", host=None, version="1.0"))
    proxied = ("X-Forwarded-For: 1.2.3.4", "X-Scheme: https", "X-A: 1", "X-A: 2", "B:")
    found.append(request("/request", headers=proxied))
    chunked = ("Transfer-Encoding: chunked",)
    for path in ("/request", "/stream"):
        found.append(request(path, "POST", chunked, b"3\r\nabc\r\n0\r\n\r\n"))
    found.append(request("/stream", "POST", body=b"x" * 10))
    found.append(request("/stream", "POST", ("X-Max: 200",), b"y" * 100))
    for wanted in ("en", "de,en;q=0.5", "xx", "en;q=abc", "*", "fr-CA, de;q=0.9,, ;"):
        found.append(request("/locale", headers=(f"Accept-Language: {wanted}",)))
    return found


def _files() -> list[bytes]:
    found = []
    for name in [
        *("a.txt", "b.css", "c.unknown", "", "sub", "sub/", "../web.py", "a.txt/"),
        *("%2e%2e/base.html", "..%2fbase.html", "nofile", "/a.txt", "//a.txt"),
        *("sub/../a.txt", ".", "..", "a%2etxt"),
    ]:
        for base in ("/files/", "/bare/", "/static/"):
            found.append(request(base + name))
    for asked in [
        *("bytes=0-3", "bytes=5-", "bytes=-3", "bytes=-0", "bytes=10-", "bytes=9-20"),
        *("bytes=3-1", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=-20"),
        *("bytes=0-", "bytes=-", "bytes=0-9", "bytes=1-9"),
    ]:
        found.append(request("/files/a.txt", headers=(f"Range: {asked}",)))
    for date in ("Sun, 13 Sep 2020 12:26:40 GMT", "Sun, 13 Sep 2020 12:26:39 GMT", "x"):
        kind = (f"If-Modified-Since: {date}",)
        found.append(request("/files/a.txt", headers=kind))
    found.append(request("/files/a.txt", headers=("If-None-Match: *",)))
    found.append(request("/files/a.txt", "HEAD"))
    found.append(request("/files/a.txt", "POST", body=b""))
    return found


def cases() -> list[bytes]:
    return [*_arguments(), *_cookies(), *_answers(), *_paths(), *_files()]
