/* Deep-ECG: samples of one lead in, labelled heartbeats out, on a microcontroller. Research code, not a medical device.
 *
 *     static struct deep_ecg ecg;             the whole state: no heap, nothing else is written
 *     struct deep_ecg_beat beat;
 *
 *     deep_ecg_init(&ecg);
 *     for each sample, in millivolts, DEEP_ECG_FS_HZ of them a second:
 *         for (int more = deep_ecg_push(&ecg, mv, &beat); more; more = deep_ecg_next(&ecg, &beat))
 *             use(beat.sample, beat.label);
 *
 * Generated from a trained network, for one sampling rate. C99; needs math.h, string.h, stdint.h and stdbool.h.
 */
#ifndef DEEP_ECG_H
#define DEEP_ECG_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "deep_ecg_network.h"
#include "deep_ecg_sizes.h"

/* What can be said of the signal: the first two, of which the second is told with less certainty, can be read; in the
 * others nothing can be said of the heart. */
enum deep_ecg_quality {
    DEEP_ECG_OK,
    DEEP_ECG_NOISY,
    DEEP_ECG_UNREADABLE, /* no heartbeat can be told from noise */
    DEEP_ECG_MISSING,    /* not numbers of the signal for a while */
    DEEP_ECG_FLAT,       /* no change for half a second */
    DEEP_ECG_SATURATED   /* no change for half a second, at the highest or lowest value so far */
};

/* One labelled beat. Samples are counted from the first one pushed. */
struct deep_ecg_beat {
    int64_t sample;                   /* the R-peak */
    int64_t known;                    /* everything that the label depends on was there: nothing later changes it */
    uint8_t label;                    /* index into DEEP_ECG_CLASS_NAMES; Q wherever the signal is unreadable */
    bool late;                        /* detected more than 150 ms after its R-peak, as where a pause shows it */
    enum deep_ecg_quality quality;    /* of the signal there: DEEP_ECG_OK, DEEP_ECG_NOISY or DEEP_ECG_UNREADABLE */
    int8_t logits[DEEP_ECG_CLASSES];  /* of the int8 network; the running priors have a say in the label, too. All 0
                                         where the signal is unreadable: such a beat is not shown to the network */
};

/* The state. Its members are the library's own: use the functions below. */
struct deep_ecg_settled { /* whether the network's logits of unreadable signal reach a limit */
    uint8_t count;
    bool reached;
};

struct deep_ecg_peak { /* of the network's logit of a beat */
    int64_t step, r; /* the latter: the sample of the R-peak near it */
    int32_t logit;
    uint32_t lost_count, unread_count; /* samples of lost signal up to there, steps that could not be read up to now */
    uint8_t quality;
};

struct deep_ecg_waiting { /* a detected beat that has not been given out */
    int64_t sample;
    uint16_t known_after; /* samples from its R-peak to where its window and its detection are there */
    uint16_t rr_samples;  /* RR interval that ends at it; 0 where there is none */
    uint8_t quality;
    bool late;
};

struct deep_ecg {
    int64_t pushed;

    /* unit: ranges of the first blocks of samples, by which it is decided whether they are millivolts */
    float block_low, block_high, block_ranges[DEEP_ECG_UNIT_BLOCKS], largest, beyond_low, beyond_high;
    int32_t block_count, beyond_run;
    uint8_t blocks;
    bool seen_mv, lifted;

    /* signal: the input of late, in rings */
    float last_mv, zero_mv, lowest_mv, highest_mv;
    int32_t missing_run, unchanged_run;
    float signal_mv[DEEP_ECG_HISTORY];
    bool missing[DEEP_ECG_HISTORY], lost[DEEP_ECG_HISTORY];
    uint32_t lost_count;
    uint16_t history_next;

    /* detector: band-passed signal, running gain, the network's latest inputs, what its blocks remember, in rings one
     * after the other, and its latest logits */
    float beat_band_state[DEEP_ECG_BEAT_SECTIONS][2], beat_band_mv;
    int32_t beat_phase;
    float gain_mv, gain_bound_mv, gain_first_mv, gain_second_mv; /* the last two: the highest of the block */
    int32_t gain_steps;
    uint8_t gain_blocks, gain_samples, gain_above, beat_pending;
    int16_t beat_input[DEEP_ECG_BEAT_INPUT];
    int8_t beat_memory[DEEP_ECG_BEAT_MEMORY][DEEP_ECG_BEAT_NARROW];
    uint16_t beat_next[DEEP_ECG_BEAT_BLOCKS];
    int32_t beat_logits[2], last_logit; /* the last: of the last beat, as its step */
    int64_t steps, last_step;
    float beat_rr_steps[DEEP_ECG_BEAT_RR];
    uint8_t beat_rr_count;
    bool has_refused;
    struct deep_ecg_peak refused; /* since the last beat */
    bool has_held;
    struct deep_ecg_peak held;
    uint8_t wary; /* beats for which low peaks are still held */
    struct deep_ecg_settled noisy, unreadable;
    uint32_t unread_count, last_unread_count; /* the latter: of the last beat that could be read */

    /* beats on their way to the network */
    int64_t last_r;
    uint32_t last_r_lost_count;
    bool has_r;
    uint8_t waiting_count;
    struct deep_ecg_waiting waiting[DEEP_ECG_WAITING];

    /* network's inputs: the filtered signal in a ring, RR intervals (oldest first), templates, one beat's arrays */
    float band_state[DEEP_ECG_BAND_SECTIONS][2];
    float filtered_mv[DEEP_ECG_FILTERED];
    int64_t filtered_count;
    int32_t resample_phase;
    uint16_t filtered_next;
    uint16_t rr_count, rr_samples[DEEP_ECG_RR];
    float group_sizes[DEEP_ECG_GROUPS];
    float groups_mv[DEEP_ECG_GROUPS][DEEP_ECG_WINDOW_SAMPLES];
    float p_means[DEEP_ECG_P_MEMORIES], p_beats; /* of the correlations of P waves; how many beats were counted */
    float window[DEEP_ECG_CHANNELS * DEEP_ECG_WINDOW_SAMPLES];
    float features[DEEP_ECG_FEATURES];
    int8_t window_q[DEEP_ECG_CHANNELS * DEEP_ECG_WINDOW_SAMPLES], features_q[DEEP_ECG_FEATURES];

    /* running priors: the share of S among the latest labels; of each group of shapes the log odds of V, its beats */
    float s_share, v_log_odds[DEEP_ECG_GROUPS], v_beats[DEEP_ECG_GROUPS];
#if DEEP_ECG_RHYTHM
    /* rhythm: memory of the network that tells fibrillation, the latest RR interval in s, whether the last beat was V */
    float rhythm[DEEP_ECG_RHYTHM], rhythm_rr_s;
    bool was_v;
#endif
};

/* Starts a stream. */
void deep_ecg_init(struct deep_ecg *ecg);

/* Takes the next sample, in millivolts; one that is not a number, or is beyond 10 V, counts as lost signal. Counts of a
 * converter, with any offset, do as well: where the numbers show that they are no millivolts, the limit is 1e9. Offset
 * and gain do not matter beside.
 * Returns 1 and fills `beat` when a beat is labelled, else 0 (`beat` is then left as it was). */
int deep_ecg_push(struct deep_ecg *ecg, float mv, struct deep_ecg_beat *beat);

/* A further beat that the same sample made known: one sample can, after a pause. Beats that are not fetched here come
 * out of the next calls of deep_ecg_push, one each, with the same `known`. */
int deep_ecg_next(struct deep_ecg *ecg, struct deep_ecg_beat *beat);

/* What can be said of the signal just now. Whether it can be read takes half a second of it or more to settle. */
enum deep_ecg_quality deep_ecg_quality(const struct deep_ecg *ecg);

#ifdef __cplusplus
}
#endif

#endif
