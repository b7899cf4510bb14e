/* headers.c -- the header map's own work: entries, look-up, change.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/headers.h"

#include <stdarg.h>
#include <string.h>

/* ---- errors and checks ---- */

PyObject *
FlHTTP_InputError(FlState *st, const char *format, ...)
{
    PyObject *type = FlState_Lazy(st, &st->HTTPInputError, "pyfastloop.httputil",
                                  "_HeaderInputError");
    PyObject *message;
    va_list args;

    if (type == NULL)
        return NULL;
    va_start(args, format);
    message = PyUnicode_FromFormatV(format, args);
    va_end(args);
    if (message != NULL) {
        PyErr_SetObject(type, message);
        Py_DECREF(message);
    }
    return NULL;
}

bool
FlHTTPHeaders_ValueOk(PyObject *value, bool wide)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(value);
    int kind = PyUnicode_KIND(value);
    const void *data = PyUnicode_DATA(value);

    if (kind == PyUnicode_1BYTE_KIND)
        return fl_span_all(fl_span_make(data, (size_t)n), FL_C_VALUE);
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);

        if (c > 255 ? !wide : !fl_is((char)c, FL_C_VALUE))
            return false;
    }
    return true;
}

/* ---- entries ---- */

static uint32_t
name_hash(fl_span name)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < name.n; i++)
        h = (h ^ ((uint8_t)name.p[i] | 0x20)) * 16777619u;
    return h;
}

static fl_span
entry_name(const FlHTTPHeaders *self, const FlHeaderEntry *e)
{
    if (e->name != NULL)
        return fl_span_make((const char *)PyUnicode_1BYTE_DATA(e->name),
                            (size_t)PyUnicode_GET_LENGTH(e->name));
    return FlHeadBlock_Span(self->block, e->name_at);
}

static int32_t
find_hashed(const FlHTTPHeaders *self, fl_span name, uint32_t hash)
{
    for (int32_t i = 0; i < self->count; i++) {
        const FlHeaderEntry *e = &self->entries[i];

        if (e->hash == hash && e->last >= 0 && fl_span_ieq(entry_name(self, e), name))
            return i;
    }
    return -1;
}

int32_t
FlHTTPHeaders_Find(FlHTTPHeaders *self, fl_span name)
{
    return find_hashed(self, name, name_hash(name));
}

int32_t
FlHTTPHeaders_FindId(FlHTTPHeaders *self, uint8_t id)
{
    for (int32_t i = 0; i < self->count; i++) {
        if (self->entries[i].id == id && self->entries[i].last >= 0)
            return i;
    }
    return -1;
}

static FlHeaderEntry *
entry_push(FlHTTPHeaders *self)
{
    if (self->count == self->capacity) {
        int32_t capacity = self->capacity ? self->capacity * 2 : 8;
        FlHeaderEntry *grown;

        if (self->capacity > INT32_MAX / 4) {
            PyErr_NoMemory();
            return NULL;
        }
        grown = PyMem_Realloc(self->entries, (size_t)capacity * sizeof(FlHeaderEntry));
        if (grown == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        self->entries = grown;
        self->capacity = capacity;
    }
    return &self->entries[self->count++];
}

/* Links the entry just pushed behind the ones of its name. */
static void
entry_link(FlHTTPHeaders *self, int32_t leader)
{
    int32_t at = self->count - 1;
    FlHeaderEntry *e = &self->entries[at];

    e->next = -1;
    if (leader < 0) {
        e->last = at;
        self->leaders++;
        return;
    }
    e->last = -1;
    self->entries[self->entries[leader].last].next = at;
    self->entries[leader].last = at;
}

_Static_assert((int)FL_H_COUNT <= FL_STATE_HEADER_NAMES,
               "FlState.header_names has a slot for every known header");

PyObject *
FlHTTPHeaders_KnownName(FlState *st, uint8_t id)
{
    if (st->header_names[id] == NULL) {
        fl_span name = fl_header_name(id);
        PyObject *str = PyUnicode_FromStringAndSize(name.p, (Py_ssize_t)name.n);

        if (str != NULL)
            PyUnicode_InternInPlace(&str);
        st->header_names[id] = str;
        st->header_hashes[id] = name_hash(name);
    }
    return st->header_names[id];
}

/* A name in Http-Header-Case: new reference. The span is a token, so ASCII. */
static PyObject *
normalized_name(FlState *st, fl_span name, uint8_t id)
{
    PyObject *str;

    if (id != FL_H_OTHER)
        return Py_XNewRef(FlHTTPHeaders_KnownName(st, id));
    str = PyUnicode_New((Py_ssize_t)name.n, 127);
    if (str != NULL)
        fl_header_normalize((char *)PyUnicode_1BYTE_DATA(str), name);
    return str;
}

PyObject *
FlHTTPHeaders_Name(FlHTTPHeaders *self, int32_t at)
{
    FlHeaderEntry *e = &self->entries[at];

    if (e->name == NULL)
        e->name =
            normalized_name(self->st, FlHeadBlock_Span(self->block, e->name_at), e->id);
    return e->name;
}

PyObject *
FlHTTPHeaders_Value(FlHTTPHeaders *self, int32_t at)
{
    FlHeaderEntry *e = &self->entries[at];

    if (e->value == NULL) {
        fl_span v = FlHeadBlock_Span(self->block, e->value_at);

        e->value = PyUnicode_DecodeLatin1(v.p, (Py_ssize_t)v.n, NULL);
    }
    return e->value;
}

bool
FlHTTPHeaders_ValueSpan(FlHTTPHeaders *self, int32_t at, fl_span *out)
{
    FlHeaderEntry *e = &self->entries[at];

    if (e->value == NULL) {
        *out = FlHeadBlock_Span(self->block, e->value_at);
        return true;
    }
    if (PyUnicode_KIND(e->value) != PyUnicode_1BYTE_KIND)
        return false;
    *out = fl_span_make((const char *)PyUnicode_1BYTE_DATA(e->value),
                        (size_t)PyUnicode_GET_LENGTH(e->value));
    return true;
}

PyObject *
FlHTTPHeaders_Joined(FlHTTPHeaders *self, int32_t at)
{
    PyObject *list, *comma, *joined = NULL;

    if (self->entries[at].next < 0)
        return Py_XNewRef(FlHTTPHeaders_Value(self, at));
    list = PyList_New(0);
    comma = PyUnicode_FromString(",");
    for (; list != NULL && comma != NULL && at >= 0; at = self->entries[at].next) {
        PyObject *value = FlHTTPHeaders_Value(self, at);

        if (value == NULL || PyList_Append(list, value) < 0)
            goto done;
    }
    if (list != NULL && comma != NULL)
        joined = PyUnicode_Join(comma, list);
done:
    Py_XDECREF(list);
    Py_XDECREF(comma);
    return joined;
}

/* ---- change ---- */

#define KEPT_NAME_MOST 64 /* bytes of a name that the state remembers */

/* The bytes of a name that was checked. */
static fl_span
given_span(const FlGivenName *name)
{
    return fl_span_make((const char *)PyUnicode_1BYTE_DATA(name->given),
                        (size_t)PyUnicode_GET_LENGTH(name->given));
}

/* The name as it is kept: the given object itself where it will do. New reference. */
static PyObject *
kept_name(FlState *st, const FlGivenName *name)
{
    if (name->id == FL_H_OTHER && name->normal && PyUnicode_CheckExact(name->given))
        return Py_NewRef(name->given);
    return normalized_name(st, given_span(name), name->id);
}

static int
add_entry(FlHTTPHeaders *self, const FlGivenName *name, PyObject *value)
{
    int32_t leader = find_hashed(self, given_span(name), name->hash);
    PyObject *str = leader >= 0 ? Py_XNewRef(FlHTTPHeaders_Name(self, leader))
                                : kept_name(self->st, name);
    FlHeaderEntry *e;

    if (str == NULL)
        return -1;
    e = entry_push(self);
    if (e == NULL) {
        Py_DECREF(str);
        return -1;
    }
    *e = (FlHeaderEntry){
        .name = str, .value = Py_NewRef(value), .hash = name->hash, .id = name->id};
    entry_link(self, leader);
    return 0;
}

/* Checks that a name is a token, and says what is to be known of it; its `given` is
 * borrowed. The same object, a constant of somebody's code, is checked once as long as
 * its place is not taken. 0 or -1 with an error. */
static int
know_name(FlState *st, PyObject *name, FlGivenName *out)
{
    FlGivenName *known =
        &st->given_names[((uintptr_t)name >> 4) % FL_STATE_GIVEN_NAMES];
    fl_span span;

    if (known->given == name) {
        *out = *known;
        return 0;
    }
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "header name must be str, not %.100s",
                     Py_TYPE(name)->tp_name);
        return -1;
    }
    out->given = name;
    span = given_span(out);
    if (!PyUnicode_IS_ASCII(name) || !fl_is_token(span)) {
        FlHTTP_InputError(st, "Invalid header name %R", name);
        return -1;
    }
    out->hash = name_hash(span);
    out->id = fl_header_lookup_token(span);
    out->normal = fl_header_is_normal(span);
    if (PyUnicode_CheckExact(name) && span.n <= KEPT_NAME_MOST) {
        PyObject *before = known->given;

        *known = *out;
        Py_INCREF(name);
        Py_XDECREF(before);
    }
    return 0;
}

int
FlHTTPHeaders_NameId(FlState *st, PyObject *name)
{
    FlGivenName known;

    return know_name(st, name, &known) < 0 ? -1 : known.id;
}

/* A value as it is kept: exactly str, so that dropping it runs nobody's code. New
 * reference, or NULL with an error. */
static PyObject *
checked_value(FlState *st, PyObject *value)
{
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "header value must be str, not %.100s",
                     Py_TYPE(value)->tp_name);
        return NULL;
    }
    if (FlHTTPHeaders_ValueOk(value, true))
        return PyUnicode_FromObject(value);
    return FlHTTP_InputError(st, "Invalid header value %R", value);
}

/* Checks a name and a value and puts them into the map: beside what is there, or
 * instead of it. */
static int
put_checked(FlHTTPHeaders *self, PyObject *name, PyObject *value,
            int (*put)(FlHTTPHeaders *self, const FlGivenName *name, PyObject *value))
{
    FlGivenName key;
    PyObject *kept;
    int err;

    if (know_name(self->st, name, &key) < 0)
        return -1;
    kept = checked_value(self->st, value);
    if (kept == NULL)
        return -1;
    err = put(self, &key, kept);
    Py_DECREF(kept);
    return err;
}

int
FlHTTPHeaders_Add(FlHTTPHeaders *self, PyObject *name, PyObject *value)
{
    return put_checked(self, name, value, add_entry);
}

/* Takes the entries of a name out (but for the first when keep_first) and links the
 * rest anew. */
static void
remove_entries(FlHTTPHeaders *self, int32_t leader, bool keep_first)
{
    int32_t kept = leader, total = self->count;
    int32_t next = keep_first ? self->entries[leader].next : leader;

    if (next < 0)
        return;
    if (keep_first)
        kept = next;
    for (int32_t i = next; i < total; i++) {
        if (i == next) {
            next = self->entries[i].next;
            Py_XDECREF(self->entries[i].name);
            Py_XDECREF(self->entries[i].value);
            continue;
        }
        self->entries[kept++] = self->entries[i];
    }
    self->leaders = 0;
    for (int32_t i = 0; i < kept; i++) {
        FlHeaderEntry *e = &self->entries[i];
        int32_t first;

        self->count = i;
        first = find_hashed(self, entry_name(self, e), e->hash);
        self->count = i + 1;
        entry_link(self, first);
    }
    self->count = kept;
}

static int
set_entry(FlHTTPHeaders *self, const FlGivenName *name, PyObject *value)
{
    int32_t at = find_hashed(self, given_span(name), name->hash);

    if (at < 0)
        return add_entry(self, name, value);
    remove_entries(self, at, true);
    Py_XSETREF(self->entries[at].value, Py_NewRef(value));
    return 0;
}

int
FlHTTPHeaders_Set(FlHTTPHeaders *self, PyObject *name, PyObject *value)
{
    return put_checked(self, name, value, set_entry);
}

int
FlHTTPHeaders_SetId(FlHTTPHeaders *self, uint8_t id, PyObject *value)
{
    PyObject *name = FlHTTPHeaders_KnownName(self->st, id);
    int32_t at = FlHTTPHeaders_FindId(self, id);
    FlHeaderEntry *e;

    if (at >= 0) {
        remove_entries(self, at, true);
        Py_XSETREF(self->entries[at].value, Py_NewRef(value));
        return 0;
    }
    e = name == NULL ? NULL : entry_push(self);
    if (e == NULL)
        return -1;
    *e = (FlHeaderEntry){.name = Py_NewRef(name),
                         .value = Py_NewRef(value),
                         .hash = self->st->header_hashes[id],
                         .id = id};
    entry_link(self, -1);
    return 0;
}

int
FlHTTPHeaders_Remove(FlHTTPHeaders *self, fl_span name)
{
    int32_t at = FlHTTPHeaders_Find(self, name);

    if (at < 0)
        return 0;
    remove_entries(self, at, false);
    return 1;
}

/* ---- making ---- */

bool
FlHTTPHeaders_Check(FlState *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->HTTPHeaders_type);
}

PyObject *
FlHTTPHeaders_New(FlState *st)
{
    FlHTTPHeaders *self = PyObject_GC_New(FlHTTPHeaders, st->HTTPHeaders_type);

    if (self == NULL)
        return NULL;
    memset((char *)self + offsetof(FlHTTPHeaders, st), 0,
           sizeof(FlHTTPHeaders) - offsetof(FlHTTPHeaders, st));
    self->st = st;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *
FlHTTPHeaders_FromBlock(FlState *st, FlHeadBlock *block)
{
    FlHTTPHeaders *self = (FlHTTPHeaders *)FlHTTPHeaders_New(st);
    const fl_head *head = &block->head;

    if (self == NULL || head->nfields == 0)
        return (PyObject *)self;
    self->block = FlHeadBlock_Retain(block);
    self->entries = PyMem_Malloc(head->nfields * sizeof(FlHeaderEntry));
    if (self->entries == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->capacity = (int32_t)head->nfields;
    for (uint32_t i = 0; i < head->nfields; i++) {
        const fl_field *f = &head->fields[i];
        fl_span name = FlHeadBlock_Span(block, f->name);
        uint32_t hash =
            f->id != FL_H_OTHER && FlHTTPHeaders_KnownName(st, f->id) != NULL
                ? st->header_hashes[f->id]
                : name_hash(name);
        int32_t leader = find_hashed(self, name, hash);

        self->entries[self->count++] = (FlHeaderEntry){
            .name_at = f->name, .value_at = f->value, .hash = hash, .id = f->id};
        entry_link(self, leader);
    }
    return (PyObject *)self;
}
