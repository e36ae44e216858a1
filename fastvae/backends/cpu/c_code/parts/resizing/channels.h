/* Loops over the channels of NHWC images: those over few of them are compiled for their number, and unrolled. */
#ifndef CHANNELS_H
#define CHANNELS_H

#define FOR_CHANNELS(c, call) \
    switch (c) { \
        case 1: call(1); break; \
        case 2: call(2); break; \
        case 3: call(3); break; \
        case 4: call(4); break; \
        default: call(c); \
    }

#endif
