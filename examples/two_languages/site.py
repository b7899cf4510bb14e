"""A page in two languages: the browser's wish, or the choice of the reader.

Translations are CSV files, one for each language; what is not translated stays English.

    python examples/two_languages/site.py [PORT]         # http://127.0.0.1:8000
"""

import os
import sys

from pyfastloop import ioloop, locale, web

HERE = os.path.dirname(os.path.abspath(__file__))
LANGUAGES = {"en": "English", "de": "Deutsch"}


class Page(web.RequestHandler):
    def get_user_locale(self):
        chosen = self.get_cookie("language")
        return locale.get(chosen) if chosen in LANGUAGES else None

    def get(self):
        cups = int(self.get_argument("cups", "0"))
        self.render("page.html", cups=cups, languages=LANGUAGES)


class Choose(web.RequestHandler):
    def post(self, language):
        if language not in LANGUAGES:
            raise web.HTTPError(404)
        self.set_cookie("language", language, samesite="Lax")
        self.redirect("/")


locale.load_translations(os.path.join(HERE, "translations"))
app = web.Application(
    [(r"/", Page), (r"/language/(\w+)", Choose)],
    template_path=os.path.join(HERE, "templates"),
)
app.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
ioloop.IOLoop.current().start()
