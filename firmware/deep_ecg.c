/* Deep-ECG, the whole chain: see deep_ecg.h. Generated; the method and its sources are described in the Python modules
 * detector.py, features.py and realtime.py of the project, which this file follows function by function.
 *
 * Arithmetic is float throughout. Nothing needs double: filters run in a form whose state does not cancel at low
 * frequencies, the energy is summed in 64-bit integers, and the statistics of RR intervals are of whole samples.
 */
#include "deep_ecg.h"

#include <math.h>
#include <string.h>

#include "deep_ecg_constants.h"
#include "deep_ecg_network.c"

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define FOREVER INT32_MAX

/* Small tools ----------------------------------------------------------------------------------------------------- */

/* Whether `value` is a number within `limit`; looks at the bits, so that -ffast-math cannot argue it away. */
static bool within(float value, float limit)
{
    uint32_t bits, limit_bits;
    memcpy(&bits, &value, sizeof bits);
    memcpy(&limit_bits, &limit, sizeof limit_bits);
    return (bits & 0x7fffffffu) <= limit_bits;
}

static float limited(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

static float at_least(float value, float least)
{
    return value > least ? value : least;
}

static int wrapped(int place, int length)
{
    return place < 0 ? place + length : place >= length ? place - length : place;
}

/* Runs one sample through second-order sections with their state. Written in z - 1 instead of z: poles close to z = 1,
 * as those of 0.5 Hz at a high rate are, then do not cancel. Coefficients of a section: b0 b1 b2 a1 a2 in z - 1. */
static float filtered(const float sections[][5], int count, float state[][2], float value)
{
    for (int i = 0; i < count; i++) {
        const float *c = sections[i];
        const float out = c[0] * value + state[i][0];
        state[i][0] += c[1] * value - c[3] * out + state[i][1];
        state[i][1] += c[2] * value - c[4] * out;
        value = out;
    }
    return value;
}

/* Appends to the `count` latest values, of which `limit` are kept. */
static void append(float *values, uint8_t *count, int limit, float value)
{
    if (*count == limit) {
        memmove(values, values + 1, (size_t)(limit - 1) * sizeof *values);
        (*count)--;
    }
    values[(*count)++] = value;
}

/* Copies `values` in rising order. */
static void sort(float *sorted, const float *values, int count)
{
    for (int i = 0; i < count; i++) {
        int place = i;
        for (; place > 0 && sorted[place - 1] > values[i]; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = values[i];
    }
}

/* The upper median, one of the values themselves; of at most LONGEST_MEDIAN values. */
static float median(const float *values, int count)
{
    float sorted[LONGEST_MEDIAN];
    sort(sorted, values, count);
    return sorted[count / 2];
}

/* Millivolts or other numbers (signal_unit.py) -------------------------------------------------------------------- */

/* Counts samples in a row beyond LIMIT_MV: for so long, and not at one value, they are the signal. */
static void count_beyond(struct deep_ecg *ecg, float value)
{
    if (ecg->beyond_run == 0)
        ecg->beyond_low = ecg->beyond_high = value;
    ecg->beyond_low = value < ecg->beyond_low ? value : ecg->beyond_low;
    ecg->beyond_high = value > ecg->beyond_high ? value : ecg->beyond_high;
    ecg->beyond_run = ecg->beyond_run < FOREVER ? ecg->beyond_run + 1 : FOREVER;
    if (ecg->beyond_run >= BEYOND && ecg->beyond_high > ecg->beyond_low)
        ecg->lifted = true;
}

/* Takes a usable sample into its block, and a whole block that changes into the ranges by which the unit is decided. */
static void take_into_block(struct deep_ecg *ecg, float value)
{
    float sorted[DEEP_ECG_UNIT_BLOCKS];
    if (ecg->block_count == 0)
        ecg->block_low = ecg->block_high = value;
    ecg->block_low = value < ecg->block_low ? value : ecg->block_low;
    ecg->block_high = value > ecg->block_high ? value : ecg->block_high;
    if (++ecg->block_count < UNIT_BLOCK)
        return;
    ecg->block_count = 0;
    if (ecg->block_high > ecg->block_low)
        ecg->block_ranges[ecg->blocks++] = ecg->block_high - ecg->block_low;
    if (ecg->blocks == DEEP_ECG_UNIT_BLOCKS) {
        sort(sorted, ecg->block_ranges, DEEP_ECG_UNIT_BLOCKS);
        ecg->lifted = !ecg->seen_mv || sorted[UNIT_RANK] > WIDEST_MV;
    }
}

/* Whether `value` is a number of the signal: within LIMIT_MV, unless its numbers have turned out to be others. */
static bool is_sample(struct deep_ecg *ecg, float value)
{
    const bool in_mv = within(value, LIMIT_MV);
    if (!within(value, LIMIT)) {
        ecg->beyond_run = 0;
        return false;
    }
    if (in_mv) {
        ecg->beyond_run = 0;
        ecg->seen_mv = true;
    } else if (!ecg->lifted) {
        count_beyond(ecg, value);
    }
    if (ecg->lifted || ecg->blocks == DEEP_ECG_UNIT_BLOCKS)
        return ecg->lifted || in_mv;
    if (ecg->seen_mv && !within(value, at_least(LIMIT_MV, GROWTH * ecg->largest)))
        return false;
    ecg->largest = at_least(fabsf(value), ecg->largest);
    take_into_block(ecg, value);
    return true;
}

/* R-peaks: from energy to summits (detector.py, RPeakDetector) ---------------------------------------------------- */

/* Place in the rings of the sample `ago` samples before the newest. */
static int place_of(const struct deep_ecg *ecg, int ago)
{
    return wrapped(ecg->history_next - 1 - ago, DEEP_ECG_HISTORY);
}

static float signal_ago(const struct deep_ecg *ecg, int ago)
{
    return ecg->signal_mv[place_of(ecg, ago)];
}

static float energy_ago(const struct deep_ecg *ecg, int ago)
{
    return ecg->energy_mv[place_of(ecg, ago)];
}

/* Whole numbers add up without rounding, in any order: a running sum of them never drifts. */
static int64_t energy_units(float mv)
{
    return (int64_t)(limited(fabsf(mv), 0.0f, MOST_ENERGY_MV) * ENERGY_UNITS_PER_MV);
}

/* Whether the newest sample is lost signal: missing for a while, or without change for a longer one. */
static bool is_lost(const struct deep_ecg *ecg)
{
    return ecg->missing_run > MISSING_LIMIT || ecg->unchanged_run >= FLAT;
}

/* Takes note of a sample, gaps filled, for `is_lost` and the quality (dsp_filters.py, SignalWatch). */
static void watch(struct deep_ecg *ecg, float mv, bool missing)
{
    ecg->missing_run = !missing ? 0 : ecg->missing_run < FOREVER ? ecg->missing_run + 1 : FOREVER;
    ecg->unchanged_run = mv != ecg->last_mv ? 0 : ecg->unchanged_run < FOREVER ? ecg->unchanged_run + 1 : FOREVER;
    ecg->lowest_mv = mv < ecg->lowest_mv ? mv : ecg->lowest_mv;
    ecg->highest_mv = mv > ecg->highest_mv ? mv : ecg->highest_mv;
    ecg->last_mv = mv;
}

/* Takes a sample, gaps filled and watched, into what the detector remembers. */
static void remember(struct deep_ecg *ecg, float mv, bool missing)
{
    const float band_mv = filtered(QRS_BAND, DEEP_ECG_QRS_SECTIONS, ecg->qrs_band_state, mv - ecg->zero_mv);
    float *oldest_mv = &ecg->qrs_band_mv[ecg->qrs_band_next];

    ecg->energy_sum += energy_units(band_mv) - energy_units(*oldest_mv);
    *oldest_mv = band_mv;
    ecg->qrs_band_next = (uint16_t)wrapped(ecg->qrs_band_next + 1, DEEP_ECG_ENERGY_SAMPLES);

    ecg->signal_mv[ecg->history_next] = mv;
    ecg->energy_mv[ecg->history_next] =
        (float)ecg->energy_sum * (1.0f / (ENERGY_UNITS_PER_MV * DEEP_ECG_ENERGY_SAMPLES));
    ecg->missing[ecg->history_next] = missing;
    ecg->lost[ecg->history_next] = is_lost(ecg);
    ecg->lost_count += is_lost(ecg);
    ecg->history_next = (uint16_t)wrapped(ecg->history_next + 1, DEEP_ECG_HISTORY);
}

/* Whether the sample HOLD ago is the highest point of the energy from BEFORE earlier to the newest. */
static bool is_summit(const struct deep_ecg *ecg)
{
    const float here_mv = energy_ago(ecg, HOLD);
    if (!(here_mv > energy_ago(ecg, HOLD + 1) && here_mv >= energy_ago(ecg, HOLD - 1) && here_mv >= LEAST_MV))
        return false;
    for (int ago = 0; ago <= HOLD + BEFORE; ago++)
        if (energy_ago(ecg, ago) > here_mv)
            return false;
    return true;
}

static int missing_before_summit(const struct deep_ecg *ecg)
{
    int count = 0;
    for (int ago = 0; ago <= HOLD + BACKGROUND; ago++)
        count += ecg->missing[place_of(ecg, ago)];
    return count;
}

/* Whether the signal does not change over the STUCK samples that end `ago` before the newest. */
static bool is_stuck(const struct deep_ecg *ecg, int ago)
{
    for (int i = 1; i < STUCK; i++)
        if (signal_ago(ecg, ago + i) != signal_ago(ecg, ago))
            return false;
    return true;
}

/* Whether the signal goes to another level near the summit and is stuck at one of the two. */
static bool is_step(const struct deep_ecg *ecg)
{
    const int length = REACH + STUCK + HOLD + 1;
    float low_mv = ecg->last_mv, high_mv = ecg->last_mv;
    if (!is_stuck(ecg, 0) && !is_stuck(ecg, length - STUCK))
        return false;
    for (int ago = 1; ago < length; ago++) {
        const float mv = signal_ago(ecg, ago);
        low_mv = mv < low_mv ? mv : low_mv;
        high_mv = mv > high_mv ? mv : high_mv;
    }
    return fabsf(ecg->last_mv - signal_ago(ecg, length - 1)) > STEP_SHARE * (high_mv - low_mv);
}

/* Samples from the R-peak, the largest deflection of the smoothed signal, to the summit. */
static int r_before_summit(const struct deep_ecg *ecg)
{
    /* Relative to a sample near by, so that an offset of the electrodes takes no digits. */
    const float near_mv = signal_ago(ecg, HOLD);
    float baseline_mv = 0.0f, highest_mv = -1.0f;
    int r_before = 0;
    for (int ago = 0; ago <= HOLD + BASELINE; ago++)
        baseline_mv += signal_ago(ecg, ago) - near_mv;
    baseline_mv /= HOLD + BASELINE + 1;
    for (int before = REACH; before >= 0; before--) {
        float smooth_mv = (signal_ago(ecg, HOLD + before) - near_mv) * R_KERNEL[0];
        for (int i = 1; i < COUNT_OF(R_KERNEL); i++) {
            const float earlier_mv = signal_ago(ecg, HOLD + before + i) - near_mv;
            const float later_mv = signal_ago(ecg, HOLD + before - i) - near_mv;
            smooth_mv += (earlier_mv + later_mv) * R_KERNEL[i];
        }
        if (fabsf(smooth_mv - baseline_mv) > highest_mv) {
            highest_mv = fabsf(smooth_mv - baseline_mv);
            r_before = before;
        }
    }
    return r_before;
}

/* Beats on their way to the network (realtime.py, BeatStream._expect) --------------------------------------------- */

/* The sample of the filtered signal, at the network's rate, that lies nearest to an input sample; half goes to even. */
static int64_t place_at_network_rate(int64_t sample)
{
#if RATE_IN == RATE_OUT
    return sample;
#else
    const int64_t halves = 2 * sample * RATE_OUT + RATE_IN, place = halves / (2 * RATE_IN);
    return halves % (2 * RATE_IN) == 0 ? place - place % 2 : place;
#endif
}

/* The input sample that completes the window of the beat at `sample`. */
static int64_t window_complete(int64_t sample)
{
    const int64_t last = place_at_network_rate(sample) + LOOK_AHEAD - 1;
    return (last * RATE_IN + RATE_OUT - 1) / RATE_OUT;
}

/* Takes a beat detected at sample `detected` into the queue; there is no RR interval where any sample since the beat
 * before is lost, of which there were `lost_count` up to this one's R-peak. More than DEEP_ECG_WAITING cannot wait:
 * beats lie at least APART apart, and the detector looks back for several at once over no more than LEARN_SPAN. */
static void expect(struct deep_ecg *ecg, int64_t sample, uint32_t lost_count, int64_t detected)
{
    struct deep_ecg_waiting *beat = &ecg->waiting[ecg->waiting_count];
    const int64_t interval = sample - ecg->last_r, cut_after = window_complete(sample) - sample;
    const int64_t detected_after = detected - sample;
    if (ecg->waiting_count == DEEP_ECG_WAITING)
        return;
    beat->sample = sample;
    beat->known_after = (uint16_t)(detected_after > cut_after ? detected_after : cut_after);
    beat->late = detected_after > ON_TIME;
    beat->rr_samples = (uint16_t)(interval < MAX_RR ? interval : MAX_RR);
    if (!ecg->has_r || lost_count != ecg->last_r_lost_count)
        beat->rr_samples = 0;
    ecg->waiting_count++;
    ecg->last_r = sample;
    ecg->last_r_lost_count = lost_count;
    ecg->has_r = true;
}

/* R-peaks: from summits to beats (detector.py, _Judge) ------------------------------------------------------------ */

static int64_t r_of(const struct deep_ecg_summit *summit)
{
    return summit->at > summit->r_before ? summit->at - summit->r_before : 0;
}

static int32_t apart(const struct deep_ecg_summit *earlier, const struct deep_ecg_summit *later)
{
    const int64_t samples = later->at - earlier->at;
    return samples < FOREVER ? (int32_t)samples : FOREVER;
}

static int32_t since_last(const struct deep_ecg *ecg, const struct deep_ecg_summit *summit)
{
    return ecg->has_beat ? apart(&ecg->last, summit) : FOREVER;
}

static bool is_silent(const struct deep_ecg *ecg, int64_t now)
{
    return !ecg->has_beat || now - ecg->last.at > SILENT;
}

static float threshold_mv(const struct deep_ecg *ecg)
{
    const float level_mv = median(ecg->beats_mv, ecg->beats), others_mv = median(ecg->others_mv, ecg->others);
    const float ceiling_mv = CEILING * level_mv, noise_mv = MARGIN * (others_mv < ceiling_mv ? others_mv : ceiling_mv);
    return noise_mv + THRESHOLD * (level_mv - noise_mv);
}

static void set_levels(struct deep_ecg *ecg, float level_mv)
{
    for (int i = 0; i < DEEP_ECG_LEVEL_BEATS; i++) {
        ecg->beats_mv[i] = level_mv;
        ecg->others_mv[i] = LEARNED_OTHERS * level_mv;
    }
    ecg->beats = ecg->others = DEEP_ECG_LEVEL_BEATS;
    ecg->latest = 0;
}

/* Whether LEAP_BEATS of at most LEAP_OF heights are far above the level; it is then set by the lowest of these. */
static bool leaps(struct deep_ecg *ecg, const float *heights_mv, int count, float level_mv)
{
    float sorted[DEEP_ECG_LEAP_OF];
    sort(sorted, heights_mv, count);
    if (count < LEAP_BEATS || sorted[count - LEAP_BEATS] <= LEAP * level_mv)
        return false;
    set_levels(ecg, sorted[count - LEAP_BEATS]);
    return true;
}

/* Sets the levels anew where the latest beats are far above them or far below: the gain has changed. */
static void follow_gain(struct deep_ecg *ecg, float level_mv)
{
    float sorted[DROP_BEATS];
    if (!leaps(ecg, ecg->latest_mv, ecg->latest, level_mv) && ecg->latest >= DROP_BEATS) {
        sort(sorted, ecg->latest_mv + ecg->latest - DROP_BEATS, DROP_BEATS);
        if (sorted[DROP_BEATS - 1] < DROP * level_mv)
            set_levels(ecg, sorted[DROP_BEATS - 1]);
    }
}

/* Takes a beat, known at sample `known`, into the levels, the rhythm and the queue. */
static void count_beat(struct deep_ecg *ecg, const struct deep_ecg_summit *beat, int64_t known)
{
    const float level_mv = median(ecg->beats_mv, ecg->beats), height_mv = beat->height_mv;
    const int32_t since = since_last(ecg, beat);
    if (since < SILENT_FROM)
        append(ecg->intervals_samples, &ecg->intervals, DEEP_ECG_LEVEL_BEATS, (float)since);
    append(
        ecg->beats_mv, &ecg->beats, DEEP_ECG_LEVEL_BEATS, height_mv < RISE * level_mv ? height_mv : RISE * level_mv);
    append(ecg->heights_mv, &ecg->heights, DEEP_ECG_LONG_BEATS, height_mv);
    append(ecg->latest_mv, &ecg->latest, DEEP_ECG_LEAP_OF, height_mv);
    memmove(ecg->outgrown_mv, ecg->outgrown_mv + 1, (DEEP_ECG_LEAP_OF - 1) * sizeof ecg->outgrown_mv[0]);
    ecg->outgrown_mv[DEEP_ECG_LEAP_OF - 1] = 0.0f;
    follow_gain(ecg, level_mv);
    ecg->last = *beat;
    ecg->has_beat = true;
    ecg->calm_mv = median(ecg->backgrounds_mv, ecg->backgrounds);
    expect(ecg, r_of(beat), beat->lost_count, known);
}

/* Forgets refused summits up to the one at `first`. */
static void forget_before(struct deep_ecg *ecg, int first)
{
    ecg->refused_count = (uint8_t)(ecg->refused_count - first);
    memmove(ecg->refused, ecg->refused + first, ecg->refused_count * sizeof ecg->refused[0]);
}

static void refuse(struct deep_ecg *ecg, const struct deep_ecg_summit *summit)
{
    if (ecg->refused_count == DEEP_ECG_PENDING)
        forget_before(ecg, 1);
    ecg->refused[ecg->refused_count++] = *summit;
}

static float highest_refused_mv(const struct deep_ecg *ecg, int but)
{
    float highest_mv = 0.0f;
    for (int i = 0; i < ecg->refused_count; i++)
        if (i != but && ecg->refused[i].height_mv > highest_mv)
            highest_mv = ecg->refused[i].height_mv;
    return highest_mv;
}

/* A refused summit between the last beat and this one that can have been neither a T nor a P wave is a beat. */
static void accept_between(struct deep_ecg *ecg, const struct deep_ecg_summit *summit, int64_t known)
{
    const float least_mv = BETWEEN_LEVEL * median(ecg->beats_mv, ecg->beats);
    struct deep_ecg_summit beat;
    int highest = -1;
    for (int i = 0; i < ecg->refused_count; i++) {
        const struct deep_ecg_summit *other = &ecg->refused[i];
        if (apart(&ecg->last, other) > T_WAVE_END && apart(other, summit) > P_WAVE_START
            && other->height_mv > least_mv && (highest < 0 || other->height_mv > ecg->refused[highest].height_mv))
            highest = i;
    }
    if (highest < 0 || ecg->refused[highest].height_mv <= BETWEEN_RATIO * highest_refused_mv(ecg, highest))
        return;
    beat = ecg->refused[highest];
    ecg->refused_count--;
    memmove(&ecg->refused[highest], &ecg->refused[highest + 1],
            (size_t)(ecg->refused_count - highest) * sizeof ecg->refused[0]);
    count_beat(ecg, &beat, known);
}

/* `summit` is a beat; before it may come one that only it has shown to be a beat. */
static void accept(struct deep_ecg *ecg, const struct deep_ecg_summit *summit, int64_t known)
{
    const int32_t since = since_last(ecg, summit);
    ecg->found_back = 0;
    if (since < P_WAVE && summit->height_mv > P_WAVE_RATIO * ecg->last.height_mv) {
        append(ecg->others_mv, &ecg->others, DEEP_ECG_LEVEL_BEATS, ecg->beats_mv[--ecg->beats]);
        ecg->intervals_samples[ecg->intervals - 1] += (float)since;
    } else if (ecg->has_beat) {
        accept_between(ecg, summit, known);
        append(ecg->others_mv, &ecg->others, DEEP_ECG_LEVEL_BEATS, highest_refused_mv(ecg, -1));
    }
    ecg->refused_count = 0;
    count_beat(ecg, summit, known);
}

/* Lowers both levels where the latest beats were all found by looking back. */
static void follow_fall(struct deep_ecg *ecg, float level_mv)
{
    float sorted[BACK_BEATS];
    if (ecg->found_back < BACK_BEATS)
        return;
    sort(sorted, ecg->heights_mv + ecg->heights - BACK_BEATS, BACK_BEATS);
    if (sorted[BACK_BEATS - 1] >= BACK_SHARE * level_mv)
        return;
    for (int i = 0; i < DEEP_ECG_LEVEL_BEATS; i++)
        ecg->beats_mv[i] = sorted[BACK_BEATS - 1];
    for (int i = 0; i < ecg->others; i++)
        ecg->others_mv[i] = ecg->others_mv[i] * sorted[BACK_BEATS - 1] / level_mv;
    ecg->beats = DEEP_ECG_LEVEL_BEATS;
}

/* Where a beat is overdue, the highest summit since the last one was it. */
static bool search_back(struct deep_ecg *ecg, const struct deep_ecg_summit *summit, int64_t known)
{
    const float usual = limited(median(ecg->intervals_samples, ecg->intervals), RR_LOW, RR_HIGH);
    const int32_t since = since_last(ecg, summit);
    struct deep_ecg_summit beat;
    float level_mv;
    int highest = 0, later = 0;
    if (!ecg->has_beat || since <= OVERDUE || (float)since <= OVERDUE_RR * usual)
        return false;
    for (int i = 1; i < ecg->refused_count; i++)
        if (ecg->refused[i].height_mv > ecg->refused[highest].height_mv)
            highest = i;
    beat = ecg->refused[highest];
    if (beat.height_mv <= OVERDUE_SHARE * threshold_mv(ecg) || apart(&ecg->last, &beat) < T_WAVE)
        return false;
    while (later < ecg->refused_count && apart(&beat, &ecg->refused[later]) <= REFRACTORY_END)
        later++;
    forget_before(ecg, later);
    level_mv = median(ecg->beats_mv, ecg->beats);
    count_beat(ecg, &beat, known);
    if (ecg->found_back < BACK_BEATS)
        ecg->found_back++;
    follow_fall(ecg, level_mv);
    return true;
}

/* The last beat was told by the start of its QRS or by its P wave: `summit`, far higher, follows closely. Where that is
 * so of LEAP_BEATS of the latest beats, the levels are set by what follows. */
static void outgrow(struct deep_ecg *ecg, const struct deep_ecg_summit *summit)
{
    ecg->outgrown_mv[DEEP_ECG_LEAP_OF - 1] = summit->height_mv;
    leaps(ecg, ecg->outgrown_mv, DEEP_ECG_LEAP_OF, median(ecg->beats_mv, ecg->beats));
}

/* Holds `summit` against the levels at sample `known`; whether that made a beat known. */
static bool weigh(struct deep_ecg *ecg, const struct deep_ecg_summit *summit, int64_t known)
{
    const int32_t since = since_last(ecg, summit);
    bool is_t_wave;
    if (ecg->has_beat && r_of(summit) - r_of(&ecg->last) < APART) {
        if (summit->height_mv > P_WAVE_RATIO * ecg->last.height_mv)
            outgrow(ecg, summit);
        return false;
    }
    if (since < REFRACTORY && summit->height_mv <= P_WAVE_RATIO * ecg->last.height_mv)
        return false;
    is_t_wave = since < T_WAVE && summit->height_mv <= T_WAVE_SHARE * ecg->last.height_mv;
    if (summit->height_mv > threshold_mv(ecg) && !is_t_wave) {
        accept(ecg, summit, known);
        return true;
    }
    refuse(ecg, summit);
    return search_back(ecg, summit, known);
}

/* Sets the levels by the summits refused of late, if they look like beats, and weighs those again. */
static void learn(struct deep_ecg *ecg, const struct deep_ecg_summit *summit, int64_t known)
{
    float backgrounds_mv[DEEP_ECG_PENDING], highest_mv = 0.0f, background_mv;
    int first = 0, count;
    while (first < ecg->refused_count && apart(&ecg->refused[first], summit) > LEARN_SPAN)
        first++;
    count = ecg->refused_count - first;
    if (count == 0 || apart(&ecg->refused[first], summit) < LEARN)
        return;
    for (int i = 0; i < count; i++) {
        const struct deep_ecg_summit *other = &ecg->refused[first + i];
        backgrounds_mv[i] = other->background_mv;
        highest_mv = i == 0 || other->height_mv > highest_mv ? other->height_mv : highest_mv;
    }
    background_mv = median(backgrounds_mv, count);
    if (background_mv > CLEAR * highest_mv)
        return;
    if (ecg->beats > 0 && since_last(ecg, summit) <= FORGET && background_mv > FALLEN * ecg->calm_mv
        && highest_mv <= USUAL * median(ecg->heights_mv, ecg->heights))
        return;
    set_levels(ecg, LEARNED_BEATS * highest_mv);
    /* Each one weighed adds at most one to the refused again, so these never reach the one that is read. */
    forget_before(ecg, first);
    ecg->refused_count = 0;
    for (int i = 0; i < count; i++) {
        const struct deep_ecg_summit other = ecg->refused[i];
        weigh(ecg, &other, known);
    }
}

static void judge(struct deep_ecg *ecg, const struct deep_ecg_summit *summit, int64_t known)
{
    int outdated = 0;
    bool found = false;
    append(ecg->backgrounds_mv, &ecg->backgrounds, DEEP_ECG_LEVEL_BEATS, summit->background_mv);
    while (outdated < ecg->refused_count && apart(&ecg->refused[outdated], summit) > REMEMBERED)
        outdated++;
    forget_before(ecg, outdated);
    if (ecg->beats > 0)
        found = weigh(ecg, summit, known);
    else
        refuse(ecg, summit);
    if (!found && is_silent(ecg, known))
        learn(ecg, summit, known);
}

/* Feeds the detector one sample, gaps filled; beats go into the queue. */
static void detect(struct deep_ecg *ecg, float mv, bool missing)
{
    struct deep_ecg_summit summit;
    watch(ecg, mv, missing);
    remember(ecg, mv, missing);
    if (!is_summit(ecg) || missing_before_summit(ecg) > MISSING_BEFORE_SUMMIT || is_step(ecg))
        return;
    summit.background_mv = energy_ago(ecg, HOLD);
    for (int ago = HOLD + 1; ago <= HOLD + BACKGROUND; ago++)
        if (energy_ago(ecg, ago) < summit.background_mv)
            summit.background_mv = energy_ago(ecg, ago);
    summit.height_mv = energy_ago(ecg, HOLD) - BACKGROUND_SHARE * summit.background_mv;
    summit.r_before = r_before_summit(ecg);
    summit.at = ecg->pushed - HOLD;
    summit.lost_count = ecg->lost_count;
    for (int ago = 0; ago < HOLD + summit.r_before; ago++)
        summit.lost_count -= ecg->lost[place_of(ecg, ago)];
    judge(ecg, &summit, ecg->pushed);
}

enum deep_ecg_quality deep_ecg_quality(const struct deep_ecg *ecg)
{
    if (ecg->missing_run > MISSING_LIMIT)
        return DEEP_ECG_MISSING;
    if (ecg->unchanged_run >= FLAT) {
        const bool at_rail = ecg->last_mv == ecg->lowest_mv || ecg->last_mv == ecg->highest_mv;
        return at_rail && ecg->lowest_mv < ecg->highest_mv ? DEEP_ECG_SATURATED : DEEP_ECG_FLAT;
    }
    if (ecg->beats == 0 || is_silent(ecg, ecg->pushed))
        return DEEP_ECG_LEARNING;
    return median(ecg->backgrounds_mv, ecg->backgrounds) > NOISY * median(ecg->beats_mv, ecg->beats) ? DEEP_ECG_NOISY
                                                                                                     : DEEP_ECG_OK;
}

/* The filtered signal at the network's rate (dsp_filters.py) ------------------------------------------------------ */

static void filter_sample(struct deep_ecg *ecg, float mv)
{
    ecg->filtered_mv[ecg->filtered_next] = filtered(BAND, DEEP_ECG_BAND_SECTIONS, ecg->band_state, mv - ecg->zero_mv);
    ecg->filtered_next = (uint16_t)wrapped(ecg->filtered_next + 1, DEEP_ECG_FILTERED);
    ecg->filtered_count++;
}

/* Filters what the next sample, `mv` after `last_mv`, makes known at the network's rate by linear interpolation.
 * Output k lies at input sample k * RATE_IN / RATE_OUT; the phase is how far the next output lies after the newest
 * input, in parts of RATE_OUT. */
static void filter_signal(struct deep_ecg *ecg, float mv, float last_mv)
{
#if RATE_IN == RATE_OUT
    (void)last_mv;
    filter_sample(ecg, mv);
#else
    ecg->resample_phase -= ecg->pushed > 0 ? RATE_OUT : 0;
    while (ecg->resample_phase <= 0) {
        const float back = (float)-ecg->resample_phase * (1.0f / RATE_OUT);
        filter_sample(ecg, mv - back * (mv - last_mv));
        ecg->resample_phase += RATE_IN;
    }
#endif
}

/* `place` of the filtered signal; before its first sample that one is repeated. */
static float filtered_at(const struct deep_ecg *ecg, int64_t place)
{
    const int ago = (int)(ecg->filtered_count - 1 - (place > 0 ? place : 0));
    return ecg->filtered_mv[wrapped(ecg->filtered_next - 1 - ago, DEEP_ECG_FILTERED)];
}

/* Rhythm (features.py, rhythm_features) --------------------------------------------------------------------------- */

/* The last `memory` RR intervals before a beat's own: their mean in samples; over that mean, from 0 to 1, the median of
 * the steps between neighbours and the standard deviation; their mean distance from whole multiples of the beat's own
 * interval, in units of that. All 0 where nothing is known. */
struct rr_statistics {
    float mean, step, variation, off_multiple;
};

/* The value at `rank` (from 0) of `count` values in rising order; puts the values into another order. */
static float selected(float *values, int count, int rank)
{
    int low = 0, high = count - 1;
    while (low < high) {
        const float pivot = values[(low + high) / 2];
        int up = low, down = high;
        while (up <= down) {
            while (values[up] < pivot)
                up++;
            while (values[down] > pivot)
                down--;
            if (up <= down) {
                const float swapped = values[up];
                values[up++] = values[down];
                values[down--] = swapped;
            }
        }
        if (rank <= down)
            high = down;
        else if (rank >= up)
            low = up;
        else
            break;
    }
    return values[rank];
}

/* The interval `back` beats before the newest one's own; 0 where there is none. */
static int rr_back(const struct deep_ecg *ecg, int back)
{
    return back < ecg->rr_count ? ecg->rr_samples[ecg->rr_count - 1 - back] : 0;
}

/* Distance of an interval from the nearest whole multiple of another, in units of that; 0 where that is 0, unknown. */
static float off_multiple(float rr, float own)
{
    if (!(own > 0.0f))
        return 0.0f;
    return limited(fabsf(rr / own - at_least(floorf(rr / own + 0.5f), 1.0f)), 0.0f, MOST_OFF);
}

/* `scratch` has room for `memory` values. */
static struct rr_statistics rr_statistics(const struct deep_ecg *ecg, int memory, float *scratch)
{
    const float own = (float)rr_back(ecg, 0);
    struct rr_statistics of = {0.0f, 0.0f, 0.0f, 0.0f};
    int64_t sum = 0, squares = 0;
    int known = 0, steps = 0;
    for (int back = 1; back <= memory; back++) {
        const int rr = rr_back(ecg, back), earlier = back < memory ? rr_back(ecg, back + 1) : 0;
        if (rr == 0)
            continue;
        known++;
        sum += rr;
        squares += (int64_t)rr * rr;
        of.off_multiple += off_multiple((float)rr, own);
        if (earlier != 0)
            scratch[steps++] = (float)(rr < earlier ? earlier - rr : rr - earlier);
    }
    if (known > 0) {
        of.mean = (float)sum / (float)known;
        of.variation = limited(sqrtf((float)(known * squares - sum * sum)) / (float)sum, 0.0f, 1.0f);
        of.off_multiple /= (float)known;
    }
    if (steps > 0) {
        const float upper = selected(scratch, steps, steps / 2);
        of.step = limited(0.5f * (selected(scratch, steps, (steps - 1) / 2) + upper) / of.mean, 0.0f, 1.0f);
    }
    return of;
}

/* A ratio of intervals within RATIO_LOW and RATIO_HIGH; 1 where one of them, 0, is unknown. */
static float ratio(float numerator, float denominator)
{
    return numerator > 0.0f && denominator > 0.0f ? limited(numerator / denominator, RATIO_LOW, RATIO_HIGH) : 1.0f;
}

/* Share of the last `memory` intervals that are shorter than the beat's own; 0.5 where unknown. */
static float rank_of(const struct deep_ecg *ecg, int memory)
{
    const int own = rr_back(ecg, 0);
    int known = 0, twice_shorter = 0;
    for (int back = 1; back <= memory; back++) {
        const int rr = rr_back(ecg, back);
        known += rr != 0;
        twice_shorter += rr == 0 ? 0 : rr < own ? 2 : rr == own;
    }
    return own != 0 && known > 0 ? 0.5f * (float)twice_shorter / (float)known : 0.5f;
}

/* The features of one beat's rhythm that stand for themselves. */
struct rhythm {
    float pre_previous_ratio, previous_second_ratio, pre_rank;
};

static struct rhythm rhythm_of(const struct deep_ecg *ecg, float pre, float previous, float second)
{
    struct rhythm rhythm;
    rhythm.pre_previous_ratio = ratio(pre, previous);
    rhythm.previous_second_ratio = ratio(previous, second);
    rhythm.pre_rank = rank_of(ecg, RANK_MEMORY);
    return rhythm;
}

static void remember_rr(struct deep_ecg *ecg, uint16_t rr_samples)
{
    if (ecg->rr_count == DEEP_ECG_RR) {
        memmove(ecg->rr_samples, ecg->rr_samples + 1, (DEEP_ECG_RR - 1) * sizeof ecg->rr_samples[0]);
        ecg->rr_count--;
    }
    ecg->rr_samples[ecg->rr_count++] = rr_samples;
}

/* Shape against the patient's own beats (features.py, RunningTemplate) -------------------------------------------- */

/* How well a beat agrees with each group of past beats, shifted against it. */
struct similarity {
    float of[SHIFTS][DEEP_ECG_GROUPS];
    int shift[DEEP_ECG_GROUPS]; /* where a group agrees best */
};

static int shift_at(int index)
{
    return FIRST_SHIFT + index * ALIGN_STEP;
}

static float mean_of(const float *values, int count)
{
    float sum = 0.0f;
    for (int i = 0; i < count; i++)
        sum += values[i];
    return sum / (float)count;
}

/* Length of `values` as a vector once `mean` is subtracted. */
static float norm_of(const float *values, int count, float mean)
{
    float squares = 0.0f;
    for (int i = 0; i < count; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    return sqrtf(squares);
}

static void compare(const struct deep_ecg *ecg, const float *beat_mv, struct similarity *similarity)
{
    float unit[QRS_SAMPLES], means_mv[SHIFTS], norms_mv[SHIFTS];
    for (int s = 0; s < SHIFTS; s++) {
        const float *span_mv = beat_mv + QRS_START + shift_at(s);
        means_mv[s] = mean_of(span_mv, QRS_SAMPLES);
        norms_mv[s] = at_least(norm_of(span_mv, QRS_SAMPLES, means_mv[s]), FLAT_MV);
    }
    for (int g = 0; g < DEEP_ECG_GROUPS; g++) {
        const float *qrs_mv = ecg->groups_mv[g] + QRS_START;
        const float mean_mv = mean_of(qrs_mv, QRS_SAMPLES);
        const float norm_mv = at_least(norm_of(qrs_mv, QRS_SAMPLES, mean_mv), FLAT_MV);
        for (int i = 0; i < QRS_SAMPLES; i++)
            unit[i] = (qrs_mv[i] - mean_mv) / norm_mv;
        similarity->shift[g] = 0;
        for (int s = 0; s < SHIFTS; s++) {
            const float *span_mv = beat_mv + QRS_START + shift_at(s);
            float product = 0.0f;
            for (int i = 0; i < QRS_SAMPLES; i++)
                product += (span_mv[i] - means_mv[s]) * unit[i];
            similarity->of[s][g] = (ecg->group_sizes[g] > 0.0f ? product / norms_mv[s] : -1.0f) * NEARNESS[s];
            if (similarity->of[s][g] > similarity->of[similarity->shift[g]][g])
                similarity->shift[g] = s;
        }
    }
}

/* Sample `i` of a window with sample `shift` moved to 0; beyond its ends the last sample there is repeated. */
static float shifted(const float *beat_mv, int i, int shift)
{
    const int place = i + shift;
    return beat_mv[place < 0 ? 0 : place < DEEP_ECG_WINDOW_SAMPLES ? place : DEEP_ECG_WINDOW_SAMPLES - 1];
}

static int largest_group(const struct deep_ecg *ecg)
{
    int largest = 0;
    for (int g = 1; g < DEEP_ECG_GROUPS; g++)
        if (ecg->group_sizes[g] > ecg->group_sizes[largest])
            largest = g;
    return largest;
}

static int smallest_group(const struct deep_ecg *ecg)
{
    int smallest = 0;
    for (int g = 1; g < DEEP_ECG_GROUPS; g++)
        if (ecg->group_sizes[g] < ecg->group_sizes[smallest])
            smallest = g;
    return smallest;
}

/* The beat joins the group that it agrees with most, or starts one in the place of the smallest. Returns the group, or
 * -1 less the group where the beat has started it. */
static int join(struct deep_ecg *ecg, const float *beat_mv, const struct similarity *similarity)
{
    int shift = 0, group = 0;
    float weight, size;
    bool joined;
    for (int s = 0; s < SHIFTS; s++)
        for (int g = 0; g < DEEP_ECG_GROUPS; g++)
            if (similarity->of[s][g] > similarity->of[shift][group]) {
                shift = s;
                group = g;
            }
    for (int g = 0; g < DEEP_ECG_GROUPS; g++)
        if (ecg->group_sizes[g] > LEAST_SIZE)
            ecg->group_sizes[g] *= FORGETTING;
    joined = similarity->of[shift][group] > ALIKE;
    if (joined) {
        ecg->group_sizes[group] += 1.0f;
        shift = shift_at(shift);
    } else {
        group = smallest_group(ecg);
        ecg->group_sizes[group] = 1.0f;
        shift = 0;
    }
    size = ecg->group_sizes[group];
    weight = 1.0f / (size < TEMPLATE_BEATS ? size : TEMPLATE_BEATS);
    for (int i = 0; i < DEEP_ECG_WINDOW_SAMPLES; i++)
        ecg->groups_mv[group][i] += weight * (shifted(beat_mv, i, shift) - ecg->groups_mv[group][i]);
    return joined ? group : -1 - group;
}

/* Brings both channels to standard deviations of the beat: channel 0 about its mean, channel 1 within the limit. */
static void normalise(float *beat_mv, float *difference_mv)
{
    const float mean_mv = mean_of(beat_mv, DEEP_ECG_WINDOW_SAMPLES);
    const float deviation_mv = norm_of(beat_mv, DEEP_ECG_WINDOW_SAMPLES, mean_mv) / ROOT_OF_WINDOW;
    const float scale = deviation_mv > FLAT_MV ? 1.0f / deviation_mv : 0.0f;
    for (int i = 0; i < DEEP_ECG_WINDOW_SAMPLES; i++) {
        beat_mv[i] = (beat_mv[i] - mean_mv) * scale;
        difference_mv[i] = limited(difference_mv[i] * scale, -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT);
    }
}

#if SHAPE_FEATURES
/* Features of shape (features.py, shape_features) ----------------------------------------------------------------- */

/* What is measured of one QRS. */
struct qrs {
    float low_mv, high_mv, spread, width;
};

/* How a QRS differs from its running template. */
struct shape {
    float log_amplitude_ratio, peak_difference, trough_difference, qrs_residual, log_spread_ratio, log_width_ratio;
};

/* Standard deviation, in samples, of the time at which the slope has its energy, plus one. */
static float spread_of(const float *qrs_mv)
{
    float energy = 0.0f, moment = 0.0f, variance = 0.0f, centre;
    for (int i = 0; i + 1 < QRS_SAMPLES; i++) {
        const float slope_mv = qrs_mv[i + 1] - qrs_mv[i];
        energy += slope_mv * slope_mv;
        moment += slope_mv * slope_mv * (float)i;
    }
    energy = at_least(energy, FLAT_MV * FLAT_MV);
    centre = moment / energy;
    for (int i = 0; i + 1 < QRS_SAMPLES; i++) {
        const float slope_mv = qrs_mv[i + 1] - qrs_mv[i], distance = (float)i - centre;
        variance += slope_mv * slope_mv * distance * distance;
    }
    return 1.0f + sqrtf(variance / energy);
}

/* Samples in which the QRS is more than half its largest deflection from its median, plus one. */
static float width_of(const float *qrs_mv)
{
    float ordered_mv[QRS_SAMPLES], largest_mv = 0.0f, width = 1.0f, middle_mv;
    memcpy(ordered_mv, qrs_mv, sizeof ordered_mv);
    middle_mv = selected(ordered_mv, QRS_SAMPLES, QRS_SAMPLES / 2);
    middle_mv = 0.5f * (middle_mv + selected(ordered_mv, QRS_SAMPLES, (QRS_SAMPLES - 1) / 2));
    for (int i = 0; i < QRS_SAMPLES; i++)
        largest_mv = at_least(fabsf(qrs_mv[i] - middle_mv), largest_mv);
    for (int i = 0; i < QRS_SAMPLES; i++)
        width += fabsf(qrs_mv[i] - middle_mv) > 0.5f * largest_mv ? 1.0f : 0.0f;
    return width;
}

static struct qrs measured(const float *qrs_mv)
{
    struct qrs qrs = {qrs_mv[0], qrs_mv[0], spread_of(qrs_mv), width_of(qrs_mv)};
    for (int i = 1; i < QRS_SAMPLES; i++) {
        qrs.low_mv = qrs_mv[i] < qrs.low_mv ? qrs_mv[i] : qrs.low_mv;
        qrs.high_mv = qrs_mv[i] > qrs.high_mv ? qrs_mv[i] : qrs.high_mv;
    }
    return qrs;
}

static float log_ratio(float numerator, float denominator)
{
    return logf(limited(numerator / denominator, 0.1f, 10.0f));
}

static struct shape shape_of(const float *qrs_mv, const float *template_mv)
{
    const struct qrs own = measured(qrs_mv), usual = measured(template_mv);
    const float amplitude_mv = at_least(usual.high_mv - usual.low_mv, FLAT_MV);
    struct shape shape;
    float squares = 0.0f;
    for (int i = 0; i < QRS_SAMPLES; i++)
        squares += (qrs_mv[i] - template_mv[i]) * (qrs_mv[i] - template_mv[i]);
    shape.log_amplitude_ratio = log_ratio(own.high_mv - own.low_mv, amplitude_mv);
    shape.peak_difference = limited((own.high_mv - usual.high_mv) / amplitude_mv, -3.0f, 3.0f);
    shape.trough_difference = limited((own.low_mv - usual.low_mv) / amplitude_mv, -3.0f, 3.0f);
    shape.qrs_residual = limited(sqrtf(squares / QRS_SAMPLES) / amplitude_mv, -3.0f, 3.0f);
    shape.log_spread_ratio = log_ratio(own.spread, usual.spread);
    shape.log_width_ratio = log_ratio(own.width, usual.width);
    return shape;
}
#endif

#if P_WAVE_FEATURES
/* P waves against the patient's own (features.py, PWaveMemory) ---------------------------------------------------- */

/* Value `i` of the P wave of a beat moved by `shift`, smoothed. */
static float p_wave_mv(const float *beat_mv, int i, int shift)
{
    float sum = 0.0f;
    for (int k = 0; k < P_SMOOTHED; k++)
        sum += shifted(beat_mv, P_START + i + k, shift);
    return sum / (float)P_SMOOTHED;
}

/* The correlation of the smoothed P wave of a beat, moved by `shift`, with that of its running template. */
static float p_correlation(const float *beat_mv, int shift, const float *template_mv)
{
    const float means = at_least((float)P_MEANS, 1.0f);
    float own_sum = 0.0f, usual_sum = 0.0f, product = 0.0f, own_squares = 0.0f, usual_squares = 0.0f;
    for (int i = 0; i < P_MEANS; i++) {
        own_sum += p_wave_mv(beat_mv, i, shift);
        usual_sum += p_wave_mv(template_mv, i, 0);
    }
    for (int i = 0; i < P_MEANS; i++) {
        const float own_mv = p_wave_mv(beat_mv, i, shift) - own_sum / means;
        const float usual_mv = p_wave_mv(template_mv, i, 0) - usual_sum / means;
        product += own_mv * usual_mv;
        own_squares += own_mv * own_mv;
        usual_squares += usual_mv * usual_mv;
    }
    return product / at_least(sqrtf(own_squares), FLAT_MV) / at_least(sqrtf(usual_squares), FLAT_MV);
}

static void remember_p_wave(struct deep_ecg *ecg, float correlation)
{
    ecg->p_beats = limited(ecg->p_beats + 1.0f, 0.0f, P_MEMORIES[DEEP_ECG_P_MEMORIES - 1]);
    for (int i = 0; i < DEEP_ECG_P_MEMORIES; i++)
        ecg->p_means[i] += (correlation - ecg->p_means[i]) / limited(ecg->p_beats, 1.0f, P_MEMORIES[i]);
}
#endif

/* A detected beat becomes the network's inputs, and those a label (realtime.py, BeatStream._step) ------------------ */

#include "deep_ecg_features.h"

/* Makes the window and features of a beat, by which the running template and the rhythm go one beat on. Returns its
 * group, as `join` does. */
static int make_inputs(struct deep_ecg *ecg, const struct deep_ecg_waiting *beat)
{
    float *beat_mv = ecg->window, *difference_mv = ecg->window + DEEP_ECG_WINDOW_SAMPLES;
    const int64_t start = place_at_network_rate(beat->sample) - BEFORE_R;
    const int largest = largest_group(ecg);
    const bool first = !(ecg->group_sizes[largest] > 0.0f);
    const float *template_mv = first ? beat_mv : ecg->groups_mv[largest];
    struct similarity similarity;
    int shift, group;
#if P_WAVE_FEATURES
    float correlation;
#endif

    remember_rr(ecg, beat->rr_samples);
    rhythm_features(ecg, ecg->window, ecg->features); /* the window serves as room to sort in, and is filled then */
    for (int i = 0; i < DEEP_ECG_WINDOW_SAMPLES; i++)
        beat_mv[i] = filtered_at(ecg, start + i);
    compare(ecg, beat_mv, &similarity);
    shift = first ? 0 : shift_at(similarity.shift[largest]);
    for (int i = 0; i < DEEP_ECG_WINDOW_SAMPLES; i++)
        difference_mv[i] = shifted(beat_mv, i, shift) - template_mv[i];
#if SHAPE_FEATURES
    shape_features(beat_mv + QRS_START + shift, template_mv + QRS_START, ecg->features);
#endif
#if P_WAVE_FEATURES
    correlation = p_correlation(beat_mv, shift, template_mv);
    p_wave_features(ecg, correlation, ecg->features);
    remember_p_wave(ecg, correlation);
#endif
    group = join(ecg, beat_mv, &similarity);
    normalise(beat_mv, difference_mv);
    return group;
}

/* The label of a beat by its logits and the running priors, which go one beat on (prior.py) ------------------------ */

/* The logarithm of the odds of V by the network alone. */
static float log_odds_of_v(const int8_t *logits)
{
    float others = 0.0f, proba;
    for (int i = 0; i < DEEP_ECG_CLASSES; i++)
        if (i != V_CLASS)
            others += expf(DEEP_ECG_LOGIT_SCALE * (float)(logits[i] - logits[V_CLASS]));
    proba = limited(1.0f / (1.0f + others), ODDS_LOW, ODDS_HIGH);
    return logf(proba / (1.0f - proba));
}

/* The mean of these over the earlier beats of the shape of this one; `group` is what `join` returned. */
static float usual_log_odds_of_v(struct deep_ecg *ecg, int group, float odds)
{
    float before;
    if (group < 0) {
        group = -1 - group;
        ecg->v_log_odds[group] = 0.0f;
        ecg->v_beats[group] = V_START_BEATS;
    }
    before = ecg->v_log_odds[group];
    ecg->v_beats[group] = limited(ecg->v_beats[group] + 1.0f, 0.0f, V_GROUP_BEATS);
    ecg->v_log_odds[group] += (odds - before) / ecg->v_beats[group];
    return before;
}

static uint8_t label_of(struct deep_ecg *ecg, int group, const int8_t *logits)
{
    const float share = limited(ecg->s_share, S_LEAST_SHARE, S_MOST_SHARE);
    float raised[DEEP_ECG_CLASSES] = {0.0f}, highest; /* raised: by how many steps of the logits */
    uint8_t label = 0;
    raised[S_CLASS] = S_WEIGHT * logf(share / S_USUAL_SHARE) / DEEP_ECG_LOGIT_SCALE;
    raised[V_CLASS] = V_WEIGHT * usual_log_odds_of_v(ecg, group, log_odds_of_v(logits)) / DEEP_ECG_LOGIT_SCALE;
    highest = (float)logits[0] + raised[0];
    for (uint8_t i = 1; i < DEEP_ECG_CLASSES; i++) {
        if ((float)logits[i] + raised[i] > highest) {
            highest = (float)logits[i] + raised[i];
            label = i;
        }
    }
    ecg->s_share += ((label == S_CLASS ? 1.0f : 0.0f) - ecg->s_share) / S_MEMORY_BEATS;
    return label;
}

int deep_ecg_next(struct deep_ecg *ecg, struct deep_ecg_beat *beat)
{
    const struct deep_ecg_waiting waiting = ecg->waiting[0];
    int group;
    if (ecg->waiting_count == 0 || ecg->pushed <= waiting.sample + waiting.known_after)
        return 0;
    ecg->waiting_count--;
    memmove(ecg->waiting, ecg->waiting + 1, ecg->waiting_count * sizeof ecg->waiting[0]);

    group = make_inputs(ecg, &waiting);
    deep_ecg_network_quantize(ecg->window, ecg->features, ecg->window_q, ecg->features_q);
    deep_ecg_network_run(ecg->window_q, ecg->features_q, beat->logits);
#ifdef DEEP_ECG_INPUTS_HOOK /* for tests: sees the inputs of each beat as they go to the network */
    DEEP_ECG_INPUTS_HOOK(ecg->window, ecg->features);
#endif
    beat->sample = waiting.sample;
    beat->known = waiting.sample + waiting.known_after;
    beat->late = waiting.late;
    beat->label = label_of(ecg, group, beat->logits);
    return 1;
}

/* The stream ------------------------------------------------------------------------------------------------------ */

void deep_ecg_init(struct deep_ecg *ecg)
{
    memset(ecg, 0, sizeof *ecg);
    append(ecg->intervals_samples, &ecg->intervals, DEEP_ECG_LEVEL_BEATS, FIRST_RR);
    ecg->s_share = S_USUAL_SHARE;
}

int deep_ecg_push(struct deep_ecg *ecg, float mv, struct deep_ecg_beat *beat)
{
    const bool missing = !is_sample(ecg, mv);
    const float filled_mv = missing ? ecg->last_mv : mv;
    if (ecg->pushed == 0) { /* as if the first sample had lasted for ever */
        ecg->zero_mv = ecg->lowest_mv = ecg->highest_mv = filled_mv;
        for (int i = 0; i < DEEP_ECG_HISTORY; i++)
            ecg->signal_mv[i] = filled_mv;
    }
    filter_signal(ecg, filled_mv, ecg->last_mv);
    detect(ecg, filled_mv, missing);
    ecg->pushed++;
    return deep_ecg_next(ecg, beat);
}
