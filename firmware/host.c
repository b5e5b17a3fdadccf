/* Runs a whole signal through the chain on the host and keeps every beat with the network's inputs, for firmware.py.
 * Includes the library, so that the hook can see the inputs. */
#include <stddef.h>

static void keep_inputs(const float *window, const float *features);
#define DEEP_ECG_INPUTS_HOOK keep_inputs

#include <deep_ecg.c> /* the generated one, not its template beside this file */

static struct deep_ecg ecg;
static float *windows_out, *features_out;

static void keep_inputs(const float *window, const float *features)
{
    memcpy(windows_out, window, sizeof ecg.window);
    memcpy(features_out, features, sizeof ecg.features);
}

/* Bytes of the state, channels and samples of a window, features. */
void host_sizes(int sizes[4])
{
    sizes[0] = (int)sizeof(struct deep_ecg);
    sizes[1] = DEEP_ECG_CHANNELS;
    sizes[2] = DEEP_ECG_WINDOW_SAMPLES;
    sizes[3] = DEEP_ECG_FEATURES;
}

int host_quality(void)
{
    return (int)deep_ecg_quality(&ecg);
}

void host_start(void)
{
    deep_ecg_init(&ecg);
}

/* Pushes `count` samples; fills a row for each beat, of which there is room for `room`, and returns how many came.
 * A row of `beats` is sample, known, late, label and the logits. */
long host_push(const float *mv, long count, long room, int64_t *beats, float *windows, float *features)
{
    struct deep_ecg_beat beat;
    long found = 0;
    for (long i = 0; i < count; i++) {
        windows_out = windows;
        features_out = features;
        for (int more = deep_ecg_push(&ecg, mv[i], &beat); more && found < room; more = deep_ecg_next(&ecg, &beat)) {
            beats[0] = beat.sample;
            beats[1] = beat.known;
            beats[2] = beat.late;
            beats[3] = beat.label;
            for (int c = 0; c < DEEP_ECG_CLASSES; c++)
                beats[4 + c] = beat.logits[c];
            beats += 4 + DEEP_ECG_CLASSES;
            windows_out = windows += DEEP_ECG_CHANNELS * DEEP_ECG_WINDOW_SAMPLES;
            features_out = features += DEEP_ECG_FEATURES;
            found++;
        }
    }
    return found;
}
