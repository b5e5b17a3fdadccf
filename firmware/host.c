/* Runs a whole signal through the chain on the host and keeps every beat with the network's inputs, for c_chain.py.
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

/* Bytes of the state, channels and samples of a window, features, samples between two beats at least. */
void host_sizes(int sizes[5])
{
    sizes[0] = (int)sizeof(struct deep_ecg);
    sizes[1] = DEEP_ECG_CHANNELS;
    sizes[2] = DEEP_ECG_WINDOW_SAMPLES;
    sizes[3] = DEEP_ECG_FEATURES;
    sizes[4] = APART;
}

int host_quality(void)
{
    return (int)deep_ecg_quality(&ecg);
}

void host_start(void)
{
    deep_ecg_init(&ecg);
}

/* Pushes `count` samples; fills a row for each beat, of which there is room for one every APART samples, and returns how
 * many came. A row of `beats` is sample, known, late, label, quality and the logits. */
long host_push(const float *mv, long count, int64_t *beats, float *windows, float *features)
{
    struct deep_ecg_beat beat;
    long found = 0;
    for (long i = 0; i < count; i++) {
        windows_out = windows;
        features_out = features;
        for (int more = deep_ecg_push(&ecg, mv[i], &beat); more; more = deep_ecg_next(&ecg, &beat)) {
            *beats++ = beat.sample;
            *beats++ = beat.known;
            *beats++ = beat.late;
            *beats++ = beat.label;
            *beats++ = beat.quality;
            for (int c = 0; c < DEEP_ECG_CLASSES; c++)
                *beats++ = beat.logits[c];
            windows_out = windows += DEEP_ECG_CHANNELS * DEEP_ECG_WINDOW_SAMPLES;
            features_out = features += DEEP_ECG_FEATURES;
            found++;
        }
    }
    return found;
}

/* The logits of the network of R-peaks, two a step, for `count` samples of its input. */
void host_beat_logits(const int8_t *samples, long count, int32_t *logits)
{
    deep_ecg_init(&ecg);
    for (long i = 0; i < count; i++)
        if (read_sample_of_beats(&ecg, samples[i], logits))
            logits += 2;
}
