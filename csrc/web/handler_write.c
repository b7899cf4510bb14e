/* handler_write.c -- write(): what is kept of an answer's body until it is sent.
 *
 * One chunk is kept as it is, several become a list; a dict becomes JSON.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include "web/json.h"

/* escape.json_encode as the module has it now. */
static PyObject *
encode_json_by_name(FlState *st, PyObject *chunk)
{
    PyObject *encode, *text, *octets;

    if (st->json_encode_module == NULL)
        st->json_encode_module = PyImport_ImportModule("pyfastloop.escape");
    if (st->json_encode_module == NULL)
        return NULL;
    encode = PyObject_GetAttrString(st->json_encode_module, "json_encode");
    text = encode == NULL ? NULL : PyObject_CallOneArg(encode, chunk);
    Py_XDECREF(encode);
    if (text == NULL)
        return NULL;
    octets =
        PyUnicode_Check(text) ? PyUnicode_AsUTF8String(text) : PyBytes_FromObject(text);
    Py_DECREF(text);
    return octets;
}

/* A dict as JSON, and the type that says so. */
static PyObject *
encode_json(FlRequestHandler *self, PyObject *chunk)
{
    FlState *st = self->st;
    PyObject *octets, *kind, *done;
    bool original;

    octets = FlWeb_Json(st, chunk);
    if (octets == Py_None) {
        Py_DECREF(octets);
        octets = encode_json_by_name(st, chunk);
    }
    if (octets == NULL)
        return NULL;
    original = ORIGINAL(self, set_header) && ORIGINAL(self, _convert_header_value);
    if (self->plain != FL_PLAIN_NOT && original) {
        self->plain = FL_PLAIN_JSON;
        return octets;
    }
    kind = FlHandler_Constant(&st->web_json_type, "application/json; charset=UTF-8");
    if (kind == NULL) {
        Py_DECREF(octets);
        return NULL;
    }
    if (original && FlHandler_HasMap(self)) {
        if (FlHTTPHeaders_SetId(FlHandler_Map(self), FL_H_CONTENT_TYPE, kind) < 0)
            Py_CLEAR(octets);
    } else {
        done = PyObject_CallMethodObjArgs(
            (PyObject *)self, st->str_set_header,
            FlHTTPHeaders_KnownName(st, FL_H_CONTENT_TYPE), kind, NULL);
        if (done == NULL)
            Py_CLEAR(octets);
        Py_XDECREF(done);
    }
    return octets;
}

int
FlHandler_Write(FlRequestHandler *self, PyObject *chunk)
{
    PyObject *octets;
    int err = 0;

    if (self->finished) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot write() after finish()");
        return -1;
    }
    if (PyBytes_Check(chunk)) {
        octets = Py_NewRef(chunk);
    } else if (PyUnicode_Check(chunk)) {
        octets = PyUnicode_AsUTF8String(chunk);
    } else if (PyDict_Check(chunk)) {
        octets = encode_json(self, chunk);
    } else {
        PyErr_SetString(
            PyExc_TypeError,
            PyList_Check(chunk)
                ? "write() only accepts bytes, unicode, and dict objects. Lists not "
                  "accepted for security reasons; see http://www.tornadoweb.org/en/"
                  "stable/web.html#tornado.web.RequestHandler.write"
                : "write() only accepts bytes, unicode, and dict objects");
        return -1;
    }
    if (octets == NULL)
        return -1;
    if (self->buffer == NULL && self->chunk == NULL) {
        self->chunk = octets;
        return 0;
    }
    if (self->buffer == NULL) {
        self->buffer = PyList_New(1);
        if (self->buffer == NULL) {
            Py_DECREF(octets);
            return -1;
        }
        PyList_SET_ITEM(self->buffer, 0, self->chunk);
        self->chunk = NULL;
    }
    err = PyList_Append(self->buffer, octets);
    Py_DECREF(octets);
    return err;
}

PyObject *
FlHandler_write(PyObject *op, PyObject *chunk)
{
    if (FlHandler_Write(FlHandler_Cast(op), chunk) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The chunks as an array; *count of them; *p is `one` or the list's own. */
PyObject *const *
FlHandler_Chunks(FlRequestHandler *self, Py_ssize_t *count)
{
    if (self->buffer != NULL) {
        *count = PyList_GET_SIZE(self->buffer);
        return *count == 0 ? NULL : &PyList_GET_ITEM(self->buffer, 0);
    }
    *count = self->chunk != NULL;
    return &self->chunk;
}

bool
FlHandler_ChunksAreBytes(FlRequestHandler *self)
{
    Py_ssize_t count;
    PyObject *const *chunks = FlHandler_Chunks(self, &count);

    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyBytes_Check(chunks[i]))
            return false;
    }
    return true;
}

/* Bytes of what was written, or -1 with an exception. escapes where somebody put other
 * things than bytes into `_write_buffer`: the list is read again for each. */
Py_ssize_t
FlHandler_BodySize(FlRequestHandler *self)
{
    Py_ssize_t count, total = 0;

    for (Py_ssize_t i = 0; FlHandler_Chunks(self, &count), i < count; i++) {
        PyObject *chunk = FlHandler_Chunks(self, &count)[i];
        Py_ssize_t n;

        if (PyBytes_Check(chunk)) {
            total += PyBytes_GET_SIZE(chunk);
            continue;
        }
        Py_INCREF(chunk);
        n = PyObject_Size(chunk);
        Py_DECREF(chunk);
        if (n < 0)
            return -1;
        total += n;
    }
    return total;
}
