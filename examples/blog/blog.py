"""A blog: accounts, login, articles in SQLite, templates, XSRF protection.

SQLite is quick but may wait for a disk, so that every query runs in a thread of its own
and the loop goes on meanwhile.

    python examples/blog/blog.py [PORT [DATABASE]]       # http://127.0.0.1:8000 blog.db
"""

import functools
import hashlib
import os
import secrets
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor

from pyfastloop import ioloop, web

HERE = os.path.dirname(os.path.abspath(__file__))

SCHEMA = """
create table if not exists authors (
    name text primary key, salt blob not null, password blob not null);
create table if not exists articles (
    id integer primary key, author text not null references authors(name),
    title text not null, body text not null,
    written text not null default current_timestamp);
create table if not exists secrets (cookie text not null);
"""


class Database:
    """One connection, one thread."""

    def __init__(self, path):
        self.thread = ThreadPoolExecutor(1)
        self.connection = self.thread.submit(
            functools.partial(sqlite3.connect, path, isolation_level=None)
        ).result()
        self.thread.submit(self.connection.executescript, SCHEMA).result()

    def query(self, sql, *values):
        """A future of all rows."""

        def run():
            return self.connection.execute(sql, values).fetchall()

        return ioloop.IOLoop.current().run_in_executor(self.thread, run)

    def cookie_secret(self):
        """Made once and kept, so that who is logged in stays so."""

        def run():
            row = self.connection.execute("select cookie from secrets").fetchone()
            if row is None:
                row = (secrets.token_hex(32),)
                self.connection.execute("insert into secrets values (?)", row)
            return row[0]

        return self.thread.submit(run).result()


def hashed(password, salt):
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


class Handler(web.RequestHandler):
    @property
    def database(self):
        return self.application.database

    def get_current_user(self):
        name = self.get_signed_cookie("author")
        return name.decode() if name else None

    def hash_in_thread(self, password, salt):
        return ioloop.IOLoop.current().run_in_executor(None, hashed, password, salt)


class Home(Handler):
    async def get(self):
        articles = await self.database.query(
            "select id, title, author, written from articles order by id desc limit 50"
        )
        self.render("home.html", articles=articles)


class Article(Handler):
    async def get(self, number):
        found = await self.database.query(
            "select title, author, written, body from articles where id = ?", number
        )
        if not found:
            raise web.HTTPError(404)
        self.render("article.html", article=found[0])


class Write(Handler):
    @web.authenticated
    def get(self):
        self.render("write.html")

    @web.authenticated
    async def post(self):
        ((number,),) = await self.database.query(
            "insert into articles (author, title, body) values (?, ?, ?) returning id",
            self.current_user,
            self.get_body_argument("title"),
            self.get_body_argument("body"),
        )
        self.redirect(f"/article/{number}")


class Join(Handler):
    def get(self):
        self.render("login.html", action="/join", word="Join", error=None)

    async def post(self):
        name = self.get_body_argument("name")
        salt = secrets.token_bytes(16)
        password = await self.hash_in_thread(self.get_body_argument("password"), salt)
        try:
            await self.database.query(
                "insert into authors values (?, ?, ?)", name, salt, password
            )
        except sqlite3.IntegrityError:
            self.set_status(409)
            error = f"There is an author called {name} already."
            self.render("login.html", action="/join", word="Join", error=error)
            return
        self.set_signed_cookie("author", name, httponly=True, samesite="Lax")
        self.redirect("/")


class Login(Handler):
    def get(self):
        self.render("login.html", action="/login", word="Log in", error=None)

    async def post(self):
        name = self.get_body_argument("name")
        found = await self.database.query(
            "select salt, password from authors where name = ?", name
        )
        salt, right = found[0] if found else (b"nobody", b"")
        given = await self.hash_in_thread(self.get_body_argument("password"), salt)
        if not secrets.compare_digest(given, right):
            self.set_status(403)
            error = "Name and password do not fit together."
            self.render("login.html", action="/login", word="Log in", error=error)
            return
        self.set_signed_cookie("author", name, httponly=True, samesite="Lax")
        self.redirect(self.get_argument("next", "/"))


class Logout(Handler):
    def post(self):
        self.clear_cookie("author")
        self.redirect("/")


class Blog(web.Application):
    def __init__(self, path):
        self.database = Database(path)
        super().__init__(
            [
                (r"/", Home),
                (r"/article/(\d+)", Article),
                (r"/write", Write),
                (r"/join", Join),
                (r"/login", Login),
                (r"/logout", Logout),
            ],
            template_path=os.path.join(HERE, "templates"),
            cookie_secret=self.database.cookie_secret(),
            login_url="/login",
            xsrf_cookies=True,
        )


if __name__ == "__main__":
    blog = Blog(sys.argv[2] if len(sys.argv) > 2 else "blog.db")
    blog.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
    ioloop.IOLoop.current().start()
