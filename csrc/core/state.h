/* state.h -- everything the module knows beyond its objects.
 *
 * One FlState per module object, so per interpreter: the types, interned names, and
 * what was imported once. Objects that need it carry a borrowed `st`; the types keep
 * the module alive. Nothing of it is static.
 *
 * To add a type: write FlName_AddType in its own file (usually one call of
 * FlState_AddType) and add one X(Name) line below, after the types it builds on.
 * To add a name or an import: one line in its list.
 *
 * Layer: core. Threads: with the interpreter.
 */
#ifndef FL_CORE_STATE_H
#define FL_CORE_STATE_H

#include "core/compat.h"
#include "core/freelist.h"

#include <stdbool.h>
#include <stdint.h>

/* X(Name): field Name_type, init function FlName_AddType(module, st). In this order. */
/* Long lists are kept from the formatter, which moves them to and fro. */
/* clang-format off */
#define FL_CORE_TYPES(X) \
    X(Handle)            \
    X(TimerHandle)       \
    X(Watch)             \
    X(Loop)              \
    X(FutureIter)        \
    X(FutureMeta)        \
    X(Future)            \
    X(Task)              \
    X(GenFuture)         \
    X(Multi)             \
    X(CoroutineFunction) \
    X(IOLoopBase)        \
    X(StackCall)         \
    X(TaskCallback)      \
    X(TaskWake)          \
    X(Permit)            \
    X(PermitWait)        \
    X(Permits)           \
    X(EventBase)         \
    X(ConditionBase)     \
    X(QueueBase)

#define FL_NET_TYPES(X)   \
    X(Listener)           \
    X(OpenFile)           \
    X(BaseIOStream)       \
    X(IOStream)           \
    X(PipeIOStream)       \
    X(SSLIOStream)        \
    X(StreamWriteBuffer)  \
    X(Transport)          \
    X(ReadPipeTransport)  \
    X(WritePipeTransport) \
    X(Acceptor)           \
    X(TransportMethods)   \
    X(SockWatch)          \
    X(SockCall)           \
    X(SockMethods)        \
    X(Datagrams)          \
    X(DatagramMethods)

#define FL_HTTP_TYPES(X)     \
    X(HTTPHeaders)           \
    X(HTTPServerRequest)     \
    X(HTTP1Parameters)       \
    X(HTTP1Connection)       \
    X(HTTP1ServerConnection) \
    X(HTTPFunctions)         \
    X(ClientLink)            \
    X(ConnectionPool)        \
    X(Outgoing)              \
    X(Exchange)              \
    X(FetchFuture)           \
    X(HTTPClientMethods)     \
    X(HTTPRequestBase)       \
    X(WebSocketLink)

#define FL_WEB_TYPES(X) \
    X(Hooks)            \
    X(Routes)           \
    X(RequestHandler)   \
    X(WebSocketHandler) \
    X(Run)              \
    X(AccessLog)        \
    X(WebFunctions)     \
    X(Accept)           \
    X(Explain)

#define FL_TYPES(X)  \
    FL_CORE_TYPES(X) \
    FL_NET_TYPES(X)  \
    FL_HTTP_TYPES(X) \
    FL_WEB_TYPES(X)
/* clang-format on */

/* X(name): field str_name, the interned string "name". One list per layer. */
/* clang-format off */
#define FL_CORE_NAMES(X)                                                               \
    X(_asyncio_future_blocking)                                                        \
    X(_check_slow)                                                                     \
    X(_create_by_factory)                                                              \
    X(_get)                                                                            \
    X(_put)                                                                            \
    X(_released_too_often)                                                             \
    X(_report_slow)                                                                    \
    X(acquire)                                                                         \
    X(add_done_callback)                                                               \
    X(add_reader)                                                                      \
    X(append)                                                                          \
    X(asyncio_loop)                                                                    \
    X(call_at)                                                                         \
    X(call_exception_handler)                                                          \
    X(call_soon) X(call_soon_threadsafe) X(callback) X(cancel) X(cancelled) X(clear) X(close)   \
        X(context) X(done) X(error) X(exc_info) X(exception) X(fileno) X(full)         \
            X(future) X(get_loop) X(get_nowait) X(handle) X(is_closed) X(loop) X(message) X(msg) X(name)       \
                X(popleft) X(put_nowait) X(qsize) X(release) X(remove_done_callback) X(remove_reader) X(result) X(source_traceback) \
                    X(set) X(task) X(throw) X(time) X(value)

#define FL_NET_NAMES(X)  \
    X(buffer_updated)    \
    X(close_fd)          \
    X(connect)           \
    X(connection_lost)   \
    X(connection_made)   \
    X(datagram_received) \
    X(do_handshake)      \
    X(eof_received)      \
    X(error_received)    \
    X(get_buffer)        \
    X(get_fd_error)      \
    X(pause_writing)     \
    X(pending)           \
    X(peername)          \
    X(pipe)              \
    X(read)              \
    X(read_from_fd)      \
    X(resume_writing)    \
    X(search)            \
    X(sendto)            \
    X(socket)            \
    X(sockname)          \
    X(ssl_options)       \
    X(transport)         \
    X(unwrap)            \
    X(write)             \
    X(write_to_fd)

#define FL_HTTP_NAMES(X)   \
    X(GET)                 \
    X(HEAD)                \
    X(POST)                \
    X(data_received)       \
    X(finish)              \
    X(headers_received)    \
    X(http)                \
    X(on_close)            \
    X(on_connection_close) \
    X(protocol)            \
    X(remote_ip)           \
    X(start_request)       \
    X(_as_changed)         \
    X(_at_work)            \
    X(_body)               \
    X(_enqueue)            \
    X(_end_extras)         \
    X(_error_is_response_code)\
    X(_fail)               \
    X(_hand_on)            \
    X(_headers)            \
    X(_inflate)            \
    X(_marks)              \
    X(_open)               \
    X(_process_queue)      \
    X(_redirected)         \
    X(_send_rest)          \
    X(_stop_sending)       \
    X(_was_closed)         \
    X(abort)               \
    X(active)              \
    X(defaults)            \
    X(effective_url)       \
    X(fetch_impl)          \
    X(headers)             \
    X(inactivity_timeout)  \
    X(keep_alive)          \
    X(max_body_size)       \
    X(max_clients)         \
    X(pool)                \
    X(queue)               \
    X(reason)              \
    X(request)             \
    X(request_time)        \
    X(request_timeout)     \
    X(start_time)          \
    X(url)                 \
    X(code)                \
    X(watch_inactivity)    \
    X(_closed)             \
    X(method)              \
    X(_start)              \
    X(deliver)             \
    X(_on_data)            \
    X(_on_end)             \
    X(_on_head)            \
    X(_on_lost)            \
    X(_hook_returned)      \
    X(compress)            \
    X(on_message)          \
    X(write_message)

#define FL_WEB_NAMES(X)              \
    X(_connections)                  \
    X(_full)                         \
    X(_greetings)                    \
    X(HTTP1ServerConnection)         \
    X(_refused)                      \
    X(conn_params)                   \
    X(max_buffer_size)               \
    X(max_connections)               \
    X(proxy_protocol)                \
    X(read_chunk_size)               \
    X(__dict__)                      \
    X(_break_cycles)                 \
    X(_pyfastloop_probe)             \
    X(_ui)                           \
    X(_watch_connection)             \
    X(_method)                       \
    X(get)                           \
    X(head)                          \
    X(post)                          \
    X(put)                           \
    X(delete)                        \
    X(patch)                         \
    X(options)                       \
    X(_get_argument)                 \
    X(_get_arguments)                \
    X(_remove_control_chars_regex)   \
    X(arguments)                     \
    X(body_arguments)                \
    X(cookies)                       \
    X(default)                       \
    X(query_arguments)               \
    X(source)                        \
    X(strip)                         \
    X(_c_routes)                     \
    X(_cache)                        \
    X(_clear_representation_headers) \
    X(_complete_head)                \
    X(_complete_head_by_name)        \
    X(check_etag_header)             \
    X(compiled_template_cache)       \
    X(cross_origin_protection)       \
    X(hexdigest)                     \
    X(info)                          \
    X(isEnabledFor)                  \
    X(static_hash_cache)             \
    X(warning)                       \
    X(xsrf_cookies)                  \
    X(set_etag_header)               \
    X(_convert_header_value)         \
    X(_go_on)                        \
    X(_handle_failure)               \
    X(_log)                          \
    X(_new_cookie)                   \
    X(_write_cookies)                \
    X(compute_etag)                  \
    X(decode_argument)               \
    X(application)                   \
    X(default_host)                  \
    X(default_router)                \
    X(host_pattern)                  \
    X(disabled)                      \
    X(find_handler)                  \
    X(flush)                         \
    X(get_handler_delegate)          \
    X(get_target_delegate)           \
    X(initialize)                    \
    X(log_function)                  \
    X(log_request)                   \
    X(matcher)                       \
    X(on_finish)                     \
    X(prepare)                       \
    X(regex)                         \
    X(request_callback)              \
    X(rules)                         \
    X(set_close_callback)            \
    X(set_default_headers)           \
    X(set_header)                    \
    X(settings)                      \
    X(target)                        \
    X(target_kwargs)                 \
    X(transforms)                    \
    X(xheaders)

#define FL_NAMES(X)  \
    FL_CORE_NAMES(X) \
    FL_NET_NAMES(X)  \
    FL_HTTP_NAMES(X) \
    FL_WEB_NAMES(X)
/* clang-format on */

/* X(field, "module", "attribute"): imported once when the module is made. The private
 * names of asyncio.tasks are the documented hooks for other task implementations. */
/* clang-format off */
#define FL_IMPORTS(X)                                           \
    X(get_running_loop, "asyncio", "_get_running_loop")         \
    X(set_running_loop, "asyncio", "_set_running_loop")         \
    X(AsyncioFuture, "asyncio", "Future")                       \
    X(AsyncioTask, "asyncio", "Task")                           \
    X(AsyncioHandle, "asyncio", "Handle")                       \
    X(AsyncioTimerHandle, "asyncio", "TimerHandle")             \
    X(CancelledError, "asyncio", "CancelledError")              \
    X(InvalidStateError, "asyncio", "InvalidStateError")        \
    X(current_task, "asyncio", "current_task")                  \
    X(register_task, "asyncio.tasks", "_register_task")         \
    X(iscoroutine, "asyncio", "iscoroutine")                    \
    X(iscoroutinefunction, "inspect", "iscoroutinefunction")    \
    X(ConcurrentFuture, "concurrent.futures", "Future")         \
    X(get_logger, "logging", "getLogger")                       \
    X(partial, "functools", "partial")                          \
    X(extract_stack, "traceback", "extract_stack")              \
    X(AsyncioTransport, "asyncio", "Transport")                 \
    X(AsyncioReadTransport, "asyncio", "ReadTransport")         \
    X(AsyncioWriteTransport, "asyncio", "WriteTransport")       \
    X(AsyncioDatagramTransport, "asyncio", "DatagramTransport") \
    X(BufferedProtocol, "asyncio", "BufferedProtocol")          \
    X(deque, "collections", "deque")                            \
    X(short_repr, "reprlib", "repr")
/* clang-format on */

/* X(name): what a Python module hands in once with _core.set_hooks(name=value): classes
 * and rules that are Python by design. */
/* clang-format off */
#define FL_HOOKS(X)                                                                    \
    X(current_loop)    /* ioloop: the asyncio loop of IOLoop.current() */              \
    X(Return)          /* gen.Return */                                                \
    X(convert)         /* gen: (yielded, owner) -> future, for what C does not know */ \
    X(call_back)       /* gen: hands a future to a legacy callback= */                 \
    X(at_timeout)      /* locks: (future, timeout, message) ends it in time */         \
    X(acquired)        /* locks: a coroutine around an acquire() that is not ours */   \
    X(QueueEmpty)      /* queues.QueueEmpty */                                         \
    X(QueueFull)       /* queues.QueueFull */                                          \
    X(YieldPoint)      /* gen.YieldPoint */                                            \
    X(await_any)       /* gen: a coroutine that awaits an awaitable */                 \
    X(stack_contexts)  /* stack_context: the ContextVar of what is open */             \
    X(settle)          /* stack_context: (contexts, error) -> None, or what is left */ \
    X(inconsistent)    /* stack_context.StackContextInconsistentError */               \
    X(run_in)          /* stack_context: (contexts, function, args, kwargs) */         \
    X(StackContext)    /* stack_context.StackContext */                                \
    X(Arguments)       /* gen.Arguments */                                             \
    X(format_callback) /* aio: text of a callback and its arguments */                 \
    X(StreamBufferFullError) /* iostream: the classes of what can go wrong */          \
    X(UnsatisfiableReadError)                                                          \
    X(SSLError) /* ssl's, so that C need not import it */                              \
    X(SSLWantReadError)                                                                \
    X(SSLWantWriteError)                                                               \
    X(SSLZeroReturnError)                                                              \
    X(SSLEOFError)                                                                     \
    X(tls_wrap)   /* iostream: an SSLSocket over a socket that connect() made */       \
    X(start_tls)  /* iostream: what IOStream.start_tls does */                         \
    X(io_loop_of) /* iostream: the IOLoop of an asyncio loop */
/* clang-format on */

/* X(field): something of the package's own Python modules (or one that is dear to
 * import), fetched by FlState_Lazy on first use. */
/* clang-format off */
#define FL_LAZY(X)           \
    X(told)                  \
    X(Socket)                \
    X(SSLSocket)             \
    X(TransportSocket)       \
    X(HTTPInputError)        \
    X(HTTPOutputError)       \
    X(SimpleCookie)          \
    X(parse_body_arguments)  \
    X(Mapping)               \
    X(StreamClosedError)     \
    X(RequestStartLine)      \
    X(ResponseStartLine)     \
    X(GzipMessageDelegate)   \
    X(InputErrorBase)        \
    X(call_when_done)        \
    X(WebSocketClosedError)  \
    X(responses)             \
    X(HTTPConnection)        \
    X(HTTPRequest)           \
    X(HTTPResponse)          \
    X(RequestProxy)          \
    X(http_dated)            \
    X(http_deciding)         \
    X(http_request_names)    \
    X(http_utf8)             \
    X(http_parse_url)        \
    X(http_plain)            \
    X(http_plan)             \
    X(json_encode_module)    \
    X(convert_odd_value)     \
    X(sha1)                  \
    X(sha1_keywords)         \
    X(web_names)             \
    X(web_originals)         \
    X(web_handler)           \
    X(web_application)       \
    X(web_router)            \
    X(web_path_matches)      \
    X(re_pattern)            \
    X(web_others)            \
    X(web_run)               \
    X(web_host_matches)      \
    X(web_default_host_matches)\
    X(web_any_matches)       \
    X(web_server)            \
    X(web_accept_server)     \
    X(web_accept_module)     \
    X(web_accept_connection) \
    X(web_access_log)        \
    X(web_server_header)     \
    X(web_content_type)      \
    X(web_date)              \
    X(web_application_hooks) \
    X(web_router_hooks)      \
    X(web_report)            \
    X(web_connection_hooks)  \
    X(web_ok)                \
    X(web_arg_default)       \
    X(web_missing_argument)  \
    X(web_name_keyword)      \
    X(web_request_hooks)     \
    X(web_json_hooks)        \
    X(web_making)            \
    X(web_json_type)         \
    X(web_html_lines)        \
    X(web_json_lines)        \
    X(web_json_facts)
/* clang-format on */

/* One slot for each well-known header name; http/headers.c checks that they do. */
#define FL_STATE_HEADER_NAMES 96

/* A power of two, a few times the names that web/ looks for in an instance. */
#define FL_STATE_NAMES 256

/* A power of two: names of headers that were looked at lately, by address. */
#define FL_STATE_GIVEN_NAMES 64

/* What is known of a header's name that a program gives again and again. */
typedef struct {
    PyObject *given; /* owned str; NULL: nothing yet */
    uint32_t hash;
    uint8_t id;
    bool normal; /* in Http-Header-Case */
} FlGivenName;

typedef struct FlLoop FlLoop;

typedef struct FlState {
    PyObject *module;    /* borrowed: the state lives inside it */
    Py_tss_t running;    /* per thread: the FlLoop that runs there, borrowed */
    uint64_t task_count; /* names of tasks */
#define X(Name) PyTypeObject *Name##_type; /* owned */
    FL_TYPES(X)
#undef X
#define X(name) PyObject *str_##name; /* owned */
    FL_NAMES(X)
#undef X
#define X(field, module, name) PyObject *field; /* owned */
    FL_IMPORTS(X)
#undef X
#define X(field) PyObject *field; /* owned; NULL until first used */
    FL_LAZY(X)
#undef X
    FlFreelist free_handles;
    FlFreelist free_timer_handles;
    FlFreelist free_futures;
    FlFreelist free_tasks;
    FlFreelist free_gen_futures;
    FlFreelist free_fetch_futures;
    FlFreelist free_future_iters;
    FlFreelist free_permit_waits;
    FlFreelist free_task_wakes;
    FlFreelist free_task_callbacks;
    FlFreelist free_exchanges; /* HTTP1Connection */
    uint64_t web_date_second;  /* what web_date says */
    int type_watcher;          /* 0: none yet, -1: none to be had, else its id + 1 */
    int dict_watcher;          /* likewise */
    int instance_watcher;      /* likewise */
    PyObject *web_name_set[FL_STATE_NAMES]; /* borrowed; see web/hooks.c */
    uint8_t web_name_kinds[FL_STATE_NAMES]; /* of those */
    const void *http_target; /* borrowed: web's FlHTTP1Target, NULL without web */
    PyObject *header_names[FL_STATE_HEADER_NAMES]; /* owned; NULL until first used */
    uint32_t header_hashes[FL_STATE_HEADER_NAMES]; /* with header_names */
    FlGivenName given_names[FL_STATE_GIVEN_NAMES]; /* http/headers.c */
    FlLoop *parking;   /* borrowed list: loops where coroutines wait, or waited */
    bool tasks_asked;  /* whether asyncio.all_tasks() can look into it ... */
    bool tasks_joined; /* ... and it does */
    struct FlListener *resting; /* borrowed list: listeners without descriptors */
    PyObject *current_tasks;    /* owned; asyncio.tasks._current_tasks, up to 3.13 */
    PyCFunction task_wakeup;    /* asyncio's; NULL until core/asyncio_bridge.c met it */
    PyObject *swap_task; /* owned; asyncio.tasks._swap_current_task, where it is NULL */
    PyObject *app_log;   /* owned; logger "tornado.application" */
    PyObject *gen_log;   /* owned; logger "tornado.general" */
    PyObject *empty_tuple;             /* owned */
    PyObject *asyncio_log;             /* owned; logger "asyncio" */
    PyObject *moment;                  /* owned; gen.moment */
    PyObject *spare_context;           /* owned; core/context.c's, or NULL */
    PyObject *spare_stop;              /* owned; core/iter_face.c's, or NULL */
    PyObject *spare_bytearray;         /* owned; net/tls.c's, or NULL */
    PyObject *nothing;                 /* owned; an awaitable that is done */
    PyObject *callback_names;          /* owned; ("callback",) */
    PyObject *deque_append;            /* owned; the methods of deque, not bound */
    PyObject *deque_popleft;           /* owned */
#define X(name) PyObject *hook_##name; /* owned; NULL until handed in */
    FL_HOOKS(X)
#undef X
} FlState;

/* The state of the module that made a type or a base of it; borrowed, NULL with
 * TypeError.
 */
FlState *FlState_OfType(PyTypeObject *type);

static inline FlState *
FlState_OfModule(PyObject *module)
{
    return (FlState *)PyModule_GetState(module);
}

/* Makes a type from its spec, stores it in *slot and, unless hidden, in the module
 * under the last part of its name. base is a type, a tuple of types or NULL; 0 or -1.
 */
int FlState_AddType(PyObject *module, PyTypeObject **slot, PyType_Spec *spec,
                    PyObject *base, bool hidden);

/* *slot, which is set to the attribute of the module on first use; borrowed, or NULL
 * with an exception. */
PyObject *FlState_Lazy(FlState *st, PyObject **slot, const char *module,
                       const char *name); /* escapes */

/* Fills the state (names, imports, types) and module; 0 or -1. */
int FlState_Init(PyObject *module);

/* _core.set_hooks(**hooks): see FL_HOOKS. */
PyObject *FlState_SetHooks(PyObject *module, PyObject *args, PyObject *kwargs);

int FlState_Traverse(FlState *st, visitproc visit, void *arg);

int FlState_Clear(FlState *st);

#endif
