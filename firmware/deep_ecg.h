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

/* One labelled beat. Samples are counted from the first one pushed. */
struct deep_ecg_beat {
    int64_t sample;                   /* the R-peak */
    int64_t known;                    /* everything that the label depends on was there: nothing later changes it */
    uint8_t label;                    /* index into DEEP_ECG_CLASS_NAMES */
    bool late;                        /* found by looking back, more than 150 ms after its R-peak */
    int8_t logits[DEEP_ECG_CLASSES];  /* of the int8 network; the running priors have a say in the label, too */
};

enum deep_ecg_quality {
    DEEP_ECG_OK,
    DEEP_ECG_MISSING,   /* not numbers of the signal for a while */
    DEEP_ECG_FLAT,      /* no change for half a second */
    DEEP_ECG_SATURATED, /* no change for half a second, at the highest or lowest value so far */
    DEEP_ECG_LEARNING,  /* no levels yet, or no beat for a while */
    DEEP_ECG_NOISY      /* no clear beats over the background */
};

/* The state. Its members are the library's own: use the functions below. */
struct deep_ecg_summit { /* a local maximum of the energy of the QRS band */
    int64_t at;
    float height_mv, background_mv;
    int32_t r_before;    /* samples from its R-peak to it */
    uint32_t lost_count; /* samples of lost signal up to its R-peak */
};

struct deep_ecg_waiting { /* a detected beat that has not been given out */
    int64_t sample;
    uint16_t known_after; /* samples from its R-peak to where its window and its detection are there */
    uint16_t rr_samples;  /* RR interval that ends at it; 0 where there is none */
    bool late;
};

struct deep_ecg {
    int64_t pushed;

    /* unit: ranges of the first blocks of samples, by which it is decided whether they are millivolts */
    float block_low, block_high, block_ranges[DEEP_ECG_UNIT_BLOCKS], largest, beyond_low, beyond_high;
    int32_t block_count, beyond_run;
    uint8_t blocks;
    bool seen_mv, lifted;

    /* signal: the input and its energy of late, in rings */
    float last_mv, zero_mv, lowest_mv, highest_mv;
    int32_t missing_run, unchanged_run;
    int64_t energy_sum;
    float qrs_band_state[DEEP_ECG_QRS_SECTIONS][2];
    float qrs_band_mv[DEEP_ECG_ENERGY_SAMPLES];
    float signal_mv[DEEP_ECG_HISTORY];
    float energy_mv[DEEP_ECG_HISTORY];
    bool missing[DEEP_ECG_HISTORY], lost[DEEP_ECG_HISTORY];
    uint32_t lost_count;
    uint16_t qrs_band_next, history_next;

    /* detector: levels, rhythm, and the summits refused since the last beat, oldest first */
    uint8_t beats, others, backgrounds, intervals, heights, latest, refused_count, found_back;
    bool has_beat;
    float beats_mv[DEEP_ECG_LEVEL_BEATS], others_mv[DEEP_ECG_LEVEL_BEATS], backgrounds_mv[DEEP_ECG_LEVEL_BEATS];
    float intervals_samples[DEEP_ECG_LEVEL_BEATS];
    float heights_mv[DEEP_ECG_LONG_BEATS], latest_mv[DEEP_ECG_LEAP_OF];
    float outgrown_mv[DEEP_ECG_LEAP_OF]; /* what followed the latest beats too closely, 0: nothing higher */
    float calm_mv;
    struct deep_ecg_summit last, refused[DEEP_ECG_PENDING];

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
};

/* Starts a stream. */
void deep_ecg_init(struct deep_ecg *ecg);

/* Takes the next sample, in millivolts; one that is not a number, or is beyond 10 V, counts as lost signal. Counts of a
 * converter, with any offset, do as well: where the numbers show that they are no millivolts, the limit is 1e9. Offset
 * and gain do not matter beside.
 * Returns 1 and fills `beat` when a beat is labelled, else 0 (`beat` is then left as it was). */
int deep_ecg_push(struct deep_ecg *ecg, float mv, struct deep_ecg_beat *beat);

/* A further beat that the same sample made known: one sample can, at the start and after a beat was missed. Beats that
 * are not fetched here come out of the next calls of deep_ecg_push, one each, with the same `known`. */
int deep_ecg_next(struct deep_ecg *ecg, struct deep_ecg_beat *beat);

/* What is known of the signal just now; only DEEP_ECG_OK can be relied on. */
enum deep_ecg_quality deep_ecg_quality(const struct deep_ecg *ecg);

#ifdef __cplusplus
}
#endif

#endif
