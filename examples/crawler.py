"""Ten workers and a queue read a site, link by link.

Without a URL it first serves itself a site of 100 pages, and reads that.

    python examples/crawler.py [URL]
"""

import re
import sys
import time
from urllib.parse import urldefrag, urljoin

from pyfastloop import gen, httpclient, httpserver, ioloop, netutil, queues, web

WORKERS = 10
PAGES = 100


class Page(web.RequestHandler):
    """Page n of a site whose pages each link to two others, and a few in a circle."""

    async def get(self, number):
        number = int(number or 0)
        await gen.sleep(0.01)
        links = [n for n in (2 * number + 1, 2 * number + 2, number // 2) if n < PAGES]
        for link in links:
            self.write(f'<a href="/{link or ""}#top">page {link}</a>\n')


async def links_of(url):
    """The URLs that the page links to, absolute and without their fragments."""
    response = await httpclient.AsyncHTTPClient().fetch(url)
    found = re.findall(r'href="([^"]+)"', response.body.decode(errors="replace"))
    return [urldefrag(urljoin(url, link)).url for link in found]


async def crawl(start):
    """Every page below the start; gives how many were read and which failed."""
    waiting, seen, failed = queues.Queue(), {start}, []
    waiting.put_nowait(start)

    async def work():
        async for url in waiting:
            if url is None:
                return
            try:
                for link in await links_of(url):
                    if link.startswith(start) and link not in seen:
                        seen.add(link)
                        waiting.put_nowait(link)
            except Exception as error:
                failed.append(f"{url}: {error}")
            finally:
                waiting.task_done()

    workers = gen.multi([work() for _ in range(WORKERS)])
    await waiting.join()
    for _ in range(WORKERS):
        waiting.put_nowait(None)
    await workers
    return len(seen), failed


async def main():
    if len(sys.argv) > 1:
        start = sys.argv[1]
    else:
        (sock,) = netutil.bind_sockets(0, "127.0.0.1")
        server = httpserver.HTTPServer(web.Application([(r"/(\d*)", Page)]))
        server.add_socket(sock)
        start = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    began = time.monotonic()
    pages, failed = await crawl(start)
    print(f"{pages} pages in {time.monotonic() - began:.2f} s, {len(failed)} failed")
    for line in failed:
        print(line)


ioloop.IOLoop.current().run_sync(main)
