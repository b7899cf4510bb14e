/* facts.h -- attributes of instances that must still be what they were.
 *
 * What C skips because nobody set it, it may skip only while nobody has. An instance's
 * attribute is a key of its dict that has some value, or is absent: a fact. Facts are
 * noted once and asked at every request.
 *
 * What makes asking cheap
 *   3.12 and later  a dict watcher, whose callback moves an epoch (FlHooks_DictEpoch):
 *                   while it stands still all facts are true.
 *   3.11            the version that each dict has (FlCompat_DictVersion).
 *   else            each fact is looked up.
 * A change that leaves the facts true is looked up once.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_FACTS_H
#define FL_WEB_FACTS_H

#include "web/hooks.h"

typedef struct {
    PyObject *dict;     /* owned */
    PyObject *name;     /* owned, interned */
    PyObject *expected; /* owned; NULL: absent */
} FlFact;

typedef struct {
    PyObject *dict; /* borrowed from a fact */
    uint64_t version;
} FlFactDict;

/* Zeroed: no facts, true. */
typedef struct {
    FlFact *facts;     /* owned */
    FlFactDict *dicts; /* owned; each dict of the facts once */
    int count, dict_count;
    uint64_t epoch; /* of the dicts when the facts were true; 0: look every time */
} FlFacts;

/* Notes that the dict, which is that of `owner` (NULL: of nobody), has (or has not) what
 * it has now; *value (nullable) is a new reference to that, or NULL. 0 or -1. */
int FlFacts_Note(FlFacts *self, FlState *st, PyObject *dict, PyObject *owner,
                 PyObject *name, PyObject **value);

bool FlFacts_LookUp(FlFacts *self);

/* Whether all of them are true. Runs no code of anybody. */
static inline bool
FlFacts_True(FlFacts *self)
{
#if FL_TYPE_WATCHERS
    if (self->epoch != 0 && self->epoch == FlHooks_DictEpoch())
        return true;
#else
    int same = 0;

    while (same < self->dict_count &&
           FlCompat_DictVersion(self->dicts[same].dict) == self->dicts[same].version)
        same++;
    if (same == self->dict_count)
        return true;
#endif
    return FlFacts_LookUp(self);
}

int FlFacts_Traverse(FlFacts *self, visitproc visit, void *arg);
void FlFacts_Clear(FlFacts *self);

#endif
