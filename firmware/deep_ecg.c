/* Deep-ECG, the whole chain: see deep_ecg.h. Generated; the method and its sources are described in the Python modules
 * of deep_ecg/beats and stream.py of the project, which this file follows function by function.
 *
 * Networks run in whole numbers, all else in float. Nothing needs double: filters run in a form whose state does not
 * cancel at low frequencies, and the statistics of RR intervals are of whole samples.
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

/* Lost signal (signal_watch.py) ----------------------------------------------------------------------------------- */

/* Place in the rings of the sample `ago` samples before the newest. */
static int place_of(const struct deep_ecg *ecg, int ago)
{
    return wrapped(ecg->history_next - 1 - ago, DEEP_ECG_HISTORY);
}

static float signal_ago(const struct deep_ecg *ecg, int ago)
{
    return ecg->signal_mv[place_of(ecg, ago)];
}

/* Whether the newest sample is lost signal: missing for a while, or without change for a longer one. */
static bool is_lost(const struct deep_ecg *ecg)
{
    return ecg->missing_run > MISSING_LIMIT || ecg->unchanged_run >= FLAT;
}

/* Takes note of a sample, gaps filled. */
static void watch(struct deep_ecg *ecg, float mv, bool missing)
{
    ecg->missing_run = !missing ? 0 : ecg->missing_run < FOREVER ? ecg->missing_run + 1 : FOREVER;
    ecg->unchanged_run = mv != ecg->last_mv ? 0 : ecg->unchanged_run < FOREVER ? ecg->unchanged_run + 1 : FOREVER;
    ecg->lowest_mv = mv < ecg->lowest_mv ? mv : ecg->lowest_mv;
    ecg->highest_mv = mv > ecg->highest_mv ? mv : ecg->highest_mv;
    ecg->last_mv = mv;
    ecg->signal_mv[ecg->history_next] = mv;
    ecg->missing[ecg->history_next] = missing;
    ecg->lost[ecg->history_next] = is_lost(ecg);
    ecg->lost_count += is_lost(ecg);
    ecg->history_next = (uint16_t)wrapped(ecg->history_next + 1, DEEP_ECG_HISTORY);
}

/* From one rate to another (dsp_filters.py, CausalResampler) ------------------------------------------------------ */

/* Output k of linear interpolation lies at input k * in / out; `phase` is how far the next output lies after the newest
 * input, in parts of 1 / out. Whether an output lies within the input so far; `back` is then how far before the
 * newest, in samples. */
static bool resampled(int32_t *phase, int32_t in, int32_t out, float *back)
{
    if (*phase > 0)
        return false;
    *back = (float)-*phase / (float)out;
    *phase += in;
    return true;
}

/* numerator / denominator, neither negative, to the nearest whole number; half goes to even. */
static int64_t rounded(int64_t numerator, int64_t denominator)
{
    const int64_t halves = 2 * numerator + denominator, whole = halves / (2 * denominator);
    return halves % (2 * denominator) == 0 ? whole - whole % 2 : whole;
}

/* Filters what the next sample, `mv` after `last_mv`, makes known at the network's rate. */
static void filter_signal(struct deep_ecg *ecg, float mv, float last_mv)
{
    float back;
    ecg->resample_phase -= ecg->pushed > 0 ? RATE_OUT : 0;
    while (resampled(&ecg->resample_phase, RATE_IN, RATE_OUT, &back)) {
        const float network_mv = mv - back * (mv - last_mv) - ecg->zero_mv;
        ecg->filtered_mv[ecg->filtered_next] = filtered(BAND, DEEP_ECG_BAND_SECTIONS, ecg->band_state, network_mv);
        ecg->filtered_next = (uint16_t)wrapped(ecg->filtered_next + 1, DEEP_ECG_FILTERED);
        ecg->filtered_count++;
    }
}

/* `place` of the filtered signal; before its first sample that one is repeated. */
static float filtered_at(const struct deep_ecg *ecg, int64_t place)
{
    const int ago = (int)(ecg->filtered_count - 1 - (place > 0 ? place : 0));
    return ecg->filtered_mv[wrapped(ecg->filtered_next - 1 - ago, DEEP_ECG_FILTERED)];
}

/* Beats on their way to the network (stream.py, BeatStream._expect) ----------------------------------------------- */

/* The sample of the filtered signal, at the network's rate, that lies nearest to an input sample. */
static int64_t place_at_network_rate(int64_t sample)
{
    return rounded(sample * RATE_OUT, RATE_IN);
}

/* The input sample that completes the window of the beat at `sample`. */
static int64_t window_complete(int64_t sample)
{
    const int64_t last = place_at_network_rate(sample) + LOOK_AHEAD - 1;
    return (last * RATE_IN + RATE_OUT - 1) / RATE_OUT;
}

static enum deep_ecg_quality readable_quality(const struct deep_ecg *ecg)
{
    return ecg->unreadable.reached ? DEEP_ECG_UNREADABLE : ecg->noisy.reached ? DEEP_ECG_NOISY : DEEP_ECG_OK;
}

/* Takes the beat at a peak into the queue. There is no RR interval where anything since the beat before is lost or, since
 * the last one that could be read, cannot be read. No more than DEEP_ECG_WAITING wait: they lie at least APART apart and
 * go once their windows are there, but for the two that one sample can make known. */
static void expect(struct deep_ecg *ecg, const struct deep_ecg_peak *peak)
{
    struct deep_ecg_waiting *beat = &ecg->waiting[ecg->waiting_count++];
    const int64_t interval = peak->r - ecg->last_r, cut_after = window_complete(peak->r) - peak->r;
    const int64_t detected_after = ecg->pushed - peak->r;
    beat->sample = peak->r;
    beat->known_after = (uint16_t)(detected_after > cut_after ? detected_after : cut_after);
    beat->late = detected_after > ON_TIME;
    beat->quality = peak->quality;
    beat->rr_samples = (uint16_t)(interval < MAX_RR ? interval : MAX_RR);
    if (!ecg->has_r || peak->lost_count != ecg->last_r_lost_count || peak->unread_count != ecg->last_unread_count)
        beat->rr_samples = 0;
    if (peak->quality != DEEP_ECG_UNREADABLE)
        ecg->last_unread_count = peak->unread_count;
    ecg->last_r = peak->r;
    ecg->last_r_lost_count = peak->lost_count;
    ecg->has_r = true;
}

/* R-peaks: the network (beat_network.py, RunningGain and BeatNetwork) --------------------------------------------- */

/* A sum becomes (sum + bias) * multiplier / 2 ** shift, to the nearest whole number. */
struct beat_layer {
    const int8_t *weights; /* [outputs][inputs], of a depth layer [outputs][taps] */
    const int32_t *biases, *multipliers;
    int shift;
};

#include "deep_ecg_beat_network.h"

static int32_t clipped(int64_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : (int32_t)value;
}

/* Halves go up. C99 leaves open what a negative number shifted to the right is. */
static int64_t rescaled(const struct beat_layer *layer, int output, int32_t sum)
{
    const int64_t one = (int64_t)1 << layer->shift;
    const int64_t product = ((int64_t)sum + layer->biases[output]) * layer->multipliers[output] + one / 2;
    return product >= 0 ? product >> layer->shift : -((-product + one - 1) >> layer->shift);
}

/* The sum of output `output` of a layer of `count` inputs. */
static int32_t summed(const int8_t *weights, int output, const int16_t *values, int count)
{
    int32_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i] * weights[output * count + i];
    return sum;
}

/* Adds to the stream what block `index` makes of it: to few channels, each of which is convolved with its past, and
 * back. `memory` is the ring of these channels, as long as the convolution reaches back. */
static void add_block(struct deep_ecg *ecg, int index, int8_t memory[][DEEP_ECG_BEAT_NARROW], int16_t *stream)
{
    const struct beat_layer *narrow = &BEAT_NARROW[index], *depth = &BEAT_DEPTH[index], *wide = &BEAT_WIDE[index];
    const int dilation = BEAT_DILATIONS[index], length = (BEAT_TAPS - 1) * dilation, next = ecg->beat_next[index];
    int16_t convolved[DEEP_ECG_BEAT_NARROW];
    for (int i = 0; i < DEEP_ECG_BEAT_NARROW; i++) {
        const int8_t *taps = depth->weights + i * BEAT_TAPS;
        const int32_t sum = summed(narrow->weights, i, stream, BEAT_CHANNELS);
        const int32_t newest = clipped(rescaled(narrow, i, sum), 0, FULL);
        int32_t convolution = newest * taps[BEAT_TAPS - 1];
        for (int tap = 0; tap < BEAT_TAPS - 1; tap++)
            convolution += memory[wrapped(next + tap * dilation, length)][i] * taps[tap];
        memory[next][i] = (int8_t)newest; /* in the place of the oldest */
        convolved[i] = (int16_t)clipped(rescaled(depth, i, convolution), 0, FULL);
    }
    ecg->beat_next[index] = (uint16_t)wrapped(next + 1, length);
    for (int i = 0; i < BEAT_CHANNELS; i++) {
        const int32_t sum = summed(wide->weights, i, convolved, DEEP_ECG_BEAT_NARROW);
        stream[i] = (int16_t)clipped(stream[i] + rescaled(wide, i, sum), -RESIDUAL_LIMIT, RESIDUAL_LIMIT);
    }
}

/* The logits of beat and of unreadable signal from the latest input. */
static void run_beat_network(struct deep_ecg *ecg, int32_t logits[2])
{
    int8_t(*memory)[DEEP_ECG_BEAT_NARROW] = ecg->beat_memory;
    int16_t stream[BEAT_CHANNELS];
    for (int i = 0; i < BEAT_CHANNELS; i++) {
        const int32_t sum = summed(BEAT_FIRST.weights, i, ecg->beat_input, DEEP_ECG_BEAT_INPUT);
        stream[i] = (int16_t)clipped(rescaled(&BEAT_FIRST, i, sum), 0, RESIDUAL_LIMIT);
    }
    for (int index = 0; index < DEEP_ECG_BEAT_BLOCKS; index++) {
        add_block(ecg, index, memory, stream);
        memory += (BEAT_TAPS - 1) * BEAT_DILATIONS[index];
    }
    for (int i = 0; i < BEAT_CHANNELS; i++)
        stream[i] = stream[i] > 0 ? stream[i] : 0;
    for (int i = 0; i < 2; i++)
        logits[i] = summed(beat_head_weights, i, stream, BEAT_CHANNELS) + beat_head_biases[i];
}

/* Takes the next sample, from -FULL to FULL; whether it completes a step, whose logits are then given. */
static bool read_sample_of_beats(struct deep_ecg *ecg, int16_t sample, int32_t logits[2])
{
    memmove(ecg->beat_input, ecg->beat_input + 1, (DEEP_ECG_BEAT_INPUT - 1) * sizeof ecg->beat_input[0]);
    ecg->beat_input[DEEP_ECG_BEAT_INPUT - 1] = sample;
    ecg->beat_pending = (uint8_t)wrapped(ecg->beat_pending + 1, STEP);
    if (ecg->beat_pending != 0)
        return false;
    run_beat_network(ecg, logits);
    return true;
}

/* Changes the gain by so many steps of its logarithm; they are counted since it was last at a bound. */
static void change_gain(struct deep_ecg *ecg, int steps)
{
    ecg->gain_steps += steps;
    ecg->gain_mv = ecg->gain_bound_mv * expf(GAIN_STEP * (float)ecg->gain_steps);
    if (ecg->gain_mv < GAIN_LEAST_MV) {
        ecg->gain_mv = ecg->gain_bound_mv = GAIN_LEAST_MV;
        ecg->gain_steps = 0;
    }
}

/* The gain follows how many samples of a block exceed it; at first in haste, and at once where it is far too low. */
static void follow_gain(struct deep_ecg *ecg)
{
    const int haste = GAIN_HASTE / (ecg->gain_blocks + 1);
    while (ecg->gain_blocks < GAIN_HASTE && ecg->gain_second_mv > GAIN_LEAP * ecg->gain_mv)
        change_gain(ecg, GAIN_BLOCK * GAIN_UP - GAIN_DOWN);
    for (int i = 0; i < (haste > 1 ? haste : 1); i++)
        change_gain(ecg, ecg->gain_above * GAIN_UP - GAIN_DOWN);
    ecg->gain_blocks = (uint8_t)(ecg->gain_blocks < GAIN_HASTE ? ecg->gain_blocks + 1 : GAIN_HASTE);
    ecg->gain_samples = ecg->gain_above = 0;
    ecg->gain_first_mv = ecg->gain_second_mv = 0.0f;
}

/* A sample of the network's signal as whole number, divided by the running gain. */
static int16_t squashed(struct deep_ecg *ecg, float mv)
{
    const float height_mv = fabsf(mv), gain_mv = ecg->gain_mv;
    ecg->gain_above = (uint8_t)(ecg->gain_above + (height_mv > gain_mv));
    ecg->gain_second_mv = at_least(ecg->gain_second_mv, height_mv < ecg->gain_first_mv ? height_mv : ecg->gain_first_mv);
    ecg->gain_first_mv = at_least(ecg->gain_first_mv, height_mv);
    if (++ecg->gain_samples == GAIN_BLOCK)
        follow_gain(ecg);
    return (int16_t)floorf((float)FULL * mv / (height_mv + KNEE * gain_mv) + 0.5f);
}

/* The R-peak near a peak of the logit (beat_network.py, RPlace) --------------------------------------------------- */

/* The deflection at the sample `ago` before the newest of the smoothed signal from the baseline; both as they differ
 * from the sample `zero_mv` near by, so that an offset of the electrodes takes no digits. */
static float deflection_mv(const struct deep_ecg *ecg, int ago, float zero_mv, float baseline_mv)
{
    float smooth_mv = (signal_ago(ecg, ago) - zero_mv) * R_KERNEL[0];
    for (int i = 1; i < COUNT_OF(R_KERNEL); i++)
        smooth_mv += (signal_ago(ecg, ago + i) - zero_mv + signal_ago(ecg, ago - i) - zero_mv) * R_KERNEL[i];
    return fabsf(smooth_mv - baseline_mv);
}

/* How many samples before the newest the R-peak near the one `about` before it lies: the largest deflection of the
 * smoothed signal. -1 in a gap and where the signal is flat. */
static int r_peak_ago(const struct deep_ecg *ecg, int about)
{
    const int margin = COUNT_OF(R_KERNEL) - 1, oldest = ecg->pushed < FOREVER ? (int)ecg->pushed : FOREVER;
    const int first = about + REACH < oldest - margin ? about + REACH : oldest - margin;
    const int last = about - REACH > margin ? about - REACH : margin;
    const int start = about + BASELINE < oldest ? about + BASELINE : oldest;
    const float zero_mv = signal_ago(ecg, about);
    float baseline_mv = 0.0f, highest_mv = -1.0f;
    int missing = 0, r_ago = -1;
    for (int ago = first; ago >= last; ago--)
        missing += ecg->missing[place_of(ecg, ago)];
    if (missing * MISSING_PARTS > first - last + 1)
        return -1;
    for (int ago = start; ago >= last; ago--)
        baseline_mv += signal_ago(ecg, ago) - zero_mv;
    baseline_mv /= (float)(start - last + 1);
    for (int ago = first; ago >= last; ago--) {
        const float height_mv = deflection_mv(ecg, ago, zero_mv, baseline_mv);
        if (height_mv > highest_mv) {
            highest_mv = height_mv;
            r_ago = ago;
        }
    }
    return highest_mv >= LEAST_MV ? r_ago : -1;
}

/* Which peaks are beats (beat_picking.py, StreamPicker) ----------------------------------------------------------- */

/* Whether the logit of a beat peaked one step before the newest, `logit`. */
static bool has_peaked(struct deep_ecg *ecg, int32_t logit)
{
    const int32_t here = ecg->beat_logits[1], before = ecg->beat_logits[0];
    ecg->beat_logits[0] = here;
    ecg->beat_logits[1] = logit;
    return here >= BEAT_LEAST && here > before && here >= logit;
}

/* Whether so many steps without a beat are more than the usual RR interval by far. */
static bool is_pause(const struct deep_ecg *ecg, int64_t steps)
{
    float usual[DEEP_ECG_BEAT_RR];
    sort(usual, ecg->beat_rr_steps, ecg->beat_rr_count);
    return ecg->beat_rr_count >= PAUSE_FEWEST && 10.0f * (float)steps > PAUSE_TENTHS * usual[ecg->beat_rr_count / 2];
}

static void remember_steps(struct deep_ecg *ecg, int64_t steps)
{
    if (steps >= LONGEST)
        return;
    if (ecg->beat_rr_count == DEEP_ECG_BEAT_RR)
        memmove(ecg->beat_rr_steps, ecg->beat_rr_steps + 1, --ecg->beat_rr_count * sizeof ecg->beat_rr_steps[0]);
    ecg->beat_rr_steps[ecg->beat_rr_count++] = (float)steps;
}

static void tell(struct deep_ecg *ecg, const struct deep_ecg_peak *beat)
{
    if (beat->r - ecg->last_r >= APART)
        expect(ecg, beat);
}

/* Whether `logit` is higher than `other` by more than half of what shows the other to be a P wave. */
static bool is_higher(int32_t logit, int32_t other)
{
    return 2 * (logit - other) > CLEARLY;
}

/* `peak` is a beat, and the last one. */
static void take(struct deep_ecg *ecg, const struct deep_ecg_peak *peak)
{
    if (peak->step - ecg->last_step <= HELD_STEPS && is_higher(peak->logit, ecg->last_logit))
        ecg->wary = HELD_BEATS;
    else if (ecg->wary > 0)
        ecg->wary--;
    tell(ecg, peak);
    ecg->last_step = peak->step;
    ecg->last_logit = peak->logit;
    ecg->has_refused = false;
}

/* `peak` is a beat, and before it one that only the pause up to it shows to be one. */
static void accept(struct deep_ecg *ecg, const struct deep_ecg_peak *peak)
{
    const int64_t since = peak->step - ecg->last_step, back = peak->step - ecg->refused.step;
    if (ecg->has_refused && back >= ASIDE && back <= BACK && is_pause(ecg, since)) {
        tell(ecg, &ecg->refused);
        remember_steps(ecg, back);
    } else {
        remember_steps(ecg, since);
    }
    take(ecg, peak);
}

/* The peak that is held was a beat. */
static void let_go(struct deep_ecg *ecg)
{
    ecg->has_held = false;
    accept(ecg, &ecg->held);
}

/* Tells the beats that `peak` makes known: itself, where it is clearly more of a beat than what is too close before it,
 * a P wave; where such have been of late, a low one is held. */
static void judge(struct deep_ecg *ecg, const struct deep_ecg_peak *peak)
{
    const int64_t since = peak->step - ecg->last_step;
    if (since < REFRACTORY) {
        if (since >= SHORTEST && peak->logit >= ecg->last_logit + CLEARLY)
            take(ecg, peak);
        return;
    }
    if (peak->logit < BEAT_THRESHOLD) {
        if (since >= ASIDE && (!ecg->has_refused || peak->logit > ecg->refused.logit))
            ecg->refused = *peak;
        ecg->has_refused = ecg->has_refused || since >= ASIDE;
        return;
    }
    ecg->has_held = ecg->wary > 0 && is_higher(ecg->last_logit, peak->logit);
    if (ecg->has_held)
        ecg->held = *peak;
    else
        accept(ecg, peak);
}

/* Tells the beats that `peak` makes known, after what it shows of the one that is held: a P wave, or a beat. */
static void pick(struct deep_ecg *ecg, const struct deep_ecg_peak *peak)
{
    if (ecg->has_held && is_higher(peak->logit, ecg->held.logit)) {
        ecg->has_held = false;
        ecg->wary = HELD_BEATS;
    } else if (ecg->has_held) {
        if (peak->step - ecg->held.step < REFRACTORY)
            return;
        let_go(ecg);
    }
    judge(ecg, peak);
}

/* The peak of the logit one step before the newest may be a beat, if there is an R-peak near it. */
static void take_peak(struct deep_ecg *ecg)
{
    const int64_t step = ecg->steps - 1, about = STEP * (step - BEAT_DELAY) + STEP / 2; /* of the network's samples */
    struct deep_ecg_peak peak = {step, 0, ecg->beat_logits[0], ecg->lost_count, ecg->unread_count, 0};
    int r_ago;
    if (about < 0)
        return;
    r_ago = r_peak_ago(ecg, (int)(ecg->pushed - rounded(about * BEAT_RATE_IN, BEAT_RATE_OUT)));
    if (r_ago < 0)
        return;
    peak.r = ecg->pushed - r_ago;
    peak.quality = (uint8_t)readable_quality(ecg);
    for (int ago = 0; ago < r_ago; ago++)
        peak.lost_count -= ecg->lost[place_of(ecg, ago)];
    pick(ecg, &peak);
}

/* Signal quality, and the detector's step (signal_quality.py, SettledQuality; beat_network.py, RPeakNetwork) ------- */

/* Settles whether the logits of unreadable signal reach a limit: so they do, or not, once SETTLE_STEPS more of them
 * have than have not, or the other way round. */
static void settle(struct deep_ecg_settled *settled, bool reached)
{
    if (reached)
        settled->count = (uint8_t)(settled->count < SETTLE_STEPS ? settled->count + 1 : SETTLE_STEPS);
    else
        settled->count = (uint8_t)(settled->count > 0 ? settled->count - 1 : 0);
    settled->reached = settled->count == SETTLE_STEPS || (settled->reached && settled->count > 0);
}

/* Feeds the detector one sample, gaps filled and watched; beats go into the queue. */
static void detect(struct deep_ecg *ecg, float mv)
{
    const float last_mv = ecg->beat_band_mv;
    float back;
    int32_t logits[2];
    ecg->beat_band_mv = filtered(BEAT_BAND, DEEP_ECG_BEAT_SECTIONS, ecg->beat_band_state, mv - ecg->zero_mv);
    ecg->beat_phase -= ecg->pushed > 0 ? BEAT_RATE_OUT : 0;
    while (resampled(&ecg->beat_phase, BEAT_RATE_IN, BEAT_RATE_OUT, &back)) {
        const float network_mv = ecg->beat_band_mv - back * (ecg->beat_band_mv - last_mv);
        if (!read_sample_of_beats(ecg, squashed(ecg, network_mv), logits))
            continue;
        settle(&ecg->noisy, logits[1] >= NOISY);
        settle(&ecg->unreadable, logits[1] >= UNREADABLE);
        ecg->unread_count += ecg->unreadable.reached;
        if (has_peaked(ecg, logits[0]))
            take_peak(ecg);
        if (ecg->has_held && ecg->held.step + HELD_STEPS < ecg->steps)
            let_go(ecg);
        ecg->steps++;
    }
}

enum deep_ecg_quality deep_ecg_quality(const struct deep_ecg *ecg)
{
    if (ecg->missing_run > MISSING_LIMIT)
        return DEEP_ECG_MISSING;
    if (ecg->unchanged_run >= FLAT) {
        const bool at_rail = ecg->last_mv == ecg->lowest_mv || ecg->last_mv == ecg->highest_mv;
        return at_rail && ecg->lowest_mv < ecg->highest_mv ? DEEP_ECG_SATURATED : DEEP_ECG_FLAT;
    }
    return readable_quality(ecg);
}

/* Rhythm (rhythm.py, rhythm_features) ----------------------------------------------------------------------------- */

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

/* Shape against the patient's own beats (templates.py, RunningTemplate) ------------------------------------------- */

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
/* Features of shape (shape.py, shape_features) -------------------------------------------------------------------- */

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
/* P waves against the patient's own (shape.py, PWaveMemory) ------------------------------------------------------- */

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

/* A detected beat becomes the network's inputs, and those a label (stream.py, BeatStream._step) ------------------- */

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

/* The label of a beat by its logits and the running priors, which go one beat on (prior.py) ----------------------- */

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

#if DEEP_ECG_RHYTHM /* The rhythm, which goes one beat on (fibrillation.py): a gated recurrent unit, in the order of torch */

static float logistic(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static float weighted_sum(const float *weights, const float *values, int count, float bias)
{
    for (int i = 0; i < count; i++)
        bias += weights[i] * values[i];
    return bias;
}

static void remember_interval(struct deep_ecg *ecg, float rr_s)
{
    const float change = ecg->rhythm_rr_s > 0.0f ? limited(logf(rr_s / ecg->rhythm_rr_s), -1.0f, 1.0f) : 0.0f;
    const float inputs[] = {logf(rr_s / RHYTHM_RR_S) / RHYTHM_SPREAD, RHYTHM_STEP * change, RHYTHM_STEP * fabsf(change)};
    float given[3 * DEEP_ECG_RHYTHM], own[3 * DEEP_ECG_RHYTHM];
    for (int i = 0; i < 3 * DEEP_ECG_RHYTHM; i++) {
        given[i] = weighted_sum(RHYTHM_INPUT[i], inputs, COUNT_OF(inputs), RHYTHM_INPUT_BIAS[i]);
        own[i] = weighted_sum(RHYTHM_RECURRENT[i], ecg->rhythm, DEEP_ECG_RHYTHM, RHYTHM_RECURRENT_BIAS[i]);
    }
    for (int i = 0; i < DEEP_ECG_RHYTHM; i++) {
        const int u = DEEP_ECG_RHYTHM + i, n = 2 * DEEP_ECG_RHYTHM + i;
        const float latest = tanhf(given[n] + logistic(given[i] + own[i]) * own[n]);
        ecg->rhythm[i] = latest + logistic(given[u] + own[u]) * (ecg->rhythm[i] - latest);
    }
    ecg->rhythm_rr_s = rr_s;
}

/* Intervals to and from V and F say nothing of the atria. */
static void remember_rhythm(struct deep_ecg *ecg, uint16_t rr_samples, uint8_t label)
{
    const bool is_v = label == V_CLASS || label == F_CLASS;
    if (rr_samples >= RHYTHM_SHORTEST && !is_v && !ecg->was_v)
        remember_interval(ecg, (float)rr_samples / INPUT_HZ);
    ecg->was_v = is_v;
}

/* By how many steps of the logits S is less likely in the rhythm so far. */
static float doubt_of_s(const struct deep_ecg *ecg)
{
    const float logit = weighted_sum(RHYTHM_OUTPUT, ecg->rhythm, DEEP_ECG_RHYTHM, RHYTHM_OUTPUT_BIAS);
    const float left = limited(logistic(-logit) / (1.0f - RHYTHM_DOUBTED), 0.0f, 1.0f);
    return RHYTHM_WEIGHT * logf(left) / DEEP_ECG_LOGIT_SCALE;
}
#endif

static uint8_t label_of(struct deep_ecg *ecg, int group, uint16_t rr_samples, const int8_t *logits)
{
    const float share = limited(ecg->s_share, S_LEAST_SHARE, S_MOST_SHARE);
    float raised[DEEP_ECG_CLASSES] = {0.0f}, highest; /* raised: by how many steps of the logits */
    uint8_t label = 0;
    raised[S_CLASS] = S_WEIGHT * logf(share / S_USUAL_SHARE) / DEEP_ECG_LOGIT_SCALE;
#if DEEP_ECG_RHYTHM
    raised[S_CLASS] += doubt_of_s(ecg);
#endif
    raised[V_CLASS] = V_WEIGHT * usual_log_odds_of_v(ecg, group, log_odds_of_v(logits)) / DEEP_ECG_LOGIT_SCALE;
    highest = (float)logits[0] + raised[0];
    for (uint8_t i = 1; i < DEEP_ECG_CLASSES; i++) {
        if ((float)logits[i] + raised[i] > highest) {
            highest = (float)logits[i] + raised[i];
            label = i;
        }
    }
    ecg->s_share += ((label == S_CLASS ? 1.0f : 0.0f) - ecg->s_share) / S_MEMORY_BEATS;
#if DEEP_ECG_RHYTHM
    remember_rhythm(ecg, rr_samples, label);
#else
    (void)rr_samples;
#endif
    return label;
}

static void label_readable(struct deep_ecg *ecg, const struct deep_ecg_waiting *waiting, struct deep_ecg_beat *beat)
{
    const int group = make_inputs(ecg, waiting);
    deep_ecg_network_quantize(ecg->window, ecg->features, ecg->window_q, ecg->features_q);
    deep_ecg_network_run(ecg->window_q, ecg->features_q, beat->logits);
#ifdef DEEP_ECG_INPUTS_HOOK /* for tests: sees the inputs of each beat as they go to the network */
    DEEP_ECG_INPUTS_HOOK(ecg->window, ecg->features);
#endif
    beat->label = label_of(ecg, group, waiting->rr_samples, beat->logits);
}

int deep_ecg_next(struct deep_ecg *ecg, struct deep_ecg_beat *beat)
{
    const struct deep_ecg_waiting waiting = ecg->waiting[0];
    if (ecg->waiting_count == 0 || ecg->pushed <= waiting.sample + waiting.known_after)
        return 0;
    ecg->waiting_count--;
    memmove(ecg->waiting, ecg->waiting + 1, ecg->waiting_count * sizeof ecg->waiting[0]);

    beat->sample = waiting.sample;
    beat->known = waiting.sample + waiting.known_after;
    beat->late = waiting.late;
    beat->quality = (enum deep_ecg_quality)waiting.quality;
    beat->label = Q_CLASS;
    memset(beat->logits, 0, sizeof beat->logits);
    if (beat->quality != DEEP_ECG_UNREADABLE)
        label_readable(ecg, &waiting, beat);
    return 1;
}

/* The stream ------------------------------------------------------------------------------------------------------ */

void deep_ecg_init(struct deep_ecg *ecg)
{
    memset(ecg, 0, sizeof *ecg);
    ecg->gain_mv = ecg->gain_bound_mv = GAIN_START_MV;
    for (int i = 0; i < COUNT_OF(ecg->beat_logits); i++)
        ecg->beat_logits[i] = INT32_MIN;
    ecg->last_step = -BACK;
    ecg->last_r = -APART;
    ecg->s_share = S_USUAL_SHARE;
}

int deep_ecg_push(struct deep_ecg *ecg, float mv, struct deep_ecg_beat *beat)
{
    const bool missing = !is_sample(ecg, mv);
    const float filled_mv = missing ? ecg->last_mv : mv;
    if (ecg->pushed == 0) /* as if the first sample had lasted for ever */
        ecg->zero_mv = ecg->lowest_mv = ecg->highest_mv = filled_mv;
    filter_signal(ecg, filled_mv, ecg->last_mv);
    watch(ecg, filled_mv, missing);
    detect(ecg, filled_mv);
    ecg->pushed++;
    return deep_ecg_next(ecg, beat);
}
