/* facts.c -- attributes of instances that must still be what they were.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/facts.h"

/* One more of `size` bytes at the end of *array, which has `count`. */
static void *
grown(void *array, int count, size_t size)
{
    void *more = PyMem_Realloc(array, ((size_t)count + 1) * size);

    if (more == NULL)
        PyErr_NoMemory();
    return more;
}

static int
note_dict(FlFacts *self, FlState *st, PyObject *dict, PyObject *owner)
{
    FlFactDict *dicts;

    for (int i = 0; i < self->dict_count; i++) {
        if (self->dicts[i].dict == dict)
            return 0;
    }
    dicts = grown(self->dicts, self->dict_count, sizeof(FlFactDict));
    if (dicts == NULL)
        return -1;
    self->dicts = dicts;
    if (self->dict_count == 0)
        self->epoch = FlHooks_DictEpoch();
    dicts[self->dict_count].dict = dict;
    dicts[self->dict_count].version = 0;
    self->dict_count++;
    if (!FlHooks_WatchDict(st, dict, owner))
        self->epoch = 0;
    return 0;
}

int
FlFacts_Note(FlFacts *self, FlState *st, PyObject *dict, PyObject *owner,
             PyObject *name, PyObject **value)
{
    PyObject *found = PyDict_GetItemWithError(dict, name);
    FlFact *facts;

    if (found == NULL && PyErr_Occurred())
        return -1;
    facts = grown(self->facts, self->count, sizeof(FlFact));
    if (facts == NULL)
        return -1;
    self->facts = facts;
    facts[self->count++] =
        (FlFact){Py_NewRef(dict), Py_NewRef(name), Py_XNewRef(found)};
    if (note_dict(self, st, dict, owner) < 0)
        return -1;
    if (value != NULL)
        *value = Py_XNewRef(found);
    return 0;
}

/* All of them are true now. */
static void
stamp(FlFacts *self)
{
    if (self->epoch != 0)
        self->epoch = FlHooks_DictEpoch();
#if !FL_TYPE_WATCHERS
    for (int i = 0; i < self->dict_count; i++)
        self->dicts[i].version = FlCompat_DictVersion(self->dicts[i].dict);
#endif
}

bool
FlFacts_LookUp(FlFacts *self)
{
    for (int i = 0; i < self->count; i++) {
        const FlFact *fact = &self->facts[i];

        if (PyDict_GetItemWithError(fact->dict, fact->name) != fact->expected) {
            PyErr_Clear();
            return false;
        }
    }
    stamp(self);
    return true;
}

int
FlFacts_Traverse(FlFacts *self, visitproc visit, void *arg)
{
    for (int i = 0; i < self->count; i++) {
        Py_VISIT(self->facts[i].dict);
        Py_VISIT(self->facts[i].expected);
    }
    return 0;
}

void
FlFacts_Clear(FlFacts *self)
{
    FlFacts old = *self;

    memset(self, 0, sizeof(*self)); /* what follows may run anything */
    for (int i = 0; i < old.count; i++) {
        Py_DECREF(old.facts[i].dict);
        Py_DECREF(old.facts[i].name);
        Py_XDECREF(old.facts[i].expected);
    }
    PyMem_Free(old.facts);
    PyMem_Free(old.dicts);
}
