/* Streams and events: operations wait in their stream until somebody waits for them. */
#ifndef STREAMS_H
#define STREAMS_H
#include "device.h"

struct stream;
struct event;

struct stream *stream_new(int blocking);
void stream_end(struct stream *);      /* once its work is done */
int stream_is_done(struct stream *);   /* NULL: the legacy stream */

struct event *event_new(void);
void event_end(struct event *);
void event_record(struct event *, struct stream *);
void event_wait(struct event *);                            /* on the host */
void stream_wait_event(struct stream *, struct event *);    /* on the device */
int event_is_done(struct event *);
double event_time(struct event *);     /* milliseconds */

/* TEST_DEVICE_EXECUTE=0: kernels and libraries' calls compute nothing, so that the host's time for them is seen. */
int device_executes(void);

/* One thread at a time uses the device. */
void device_lock(void);
void device_unlock(void);
#endif
