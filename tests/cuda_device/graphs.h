/* CUDA graphs on the tests' device: what a capturing stream is given is kept, and runs when the graph is launched. */
#ifndef GRAPHS_H
#define GRAPHS_H

/* The statuses of the driver that have to do with a capture. */
enum {
  ILLEGAL_STATE = 401,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_IMPLICIT = 906,
  CAPTURED_EVENT = 907,
};

/* What the driver answers to work for a stream: 0, or why not. A use of the legacy stream (NULL), as of a copy that waits,
   ends every capture, for all our streams wait for that one. */
int graphs_admit(void *stream);

/* To a call that waits for a stream, or asks whether it has ended: none may while it is captured. */
int graphs_admit_wait(void *stream);

/* To a call such as an allocation, which may wait for the device: only a relaxed capture lets it pass. */
int graphs_admit_unsafe(void);

/* Whether work that the stream gets now is kept. */
int graphs_capture(void *stream);
#endif
