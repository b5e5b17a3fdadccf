/* Runs the C network on the golden vectors on a Cortex-M3 without an operating system, as emulated by
 * `qemu-system-arm -M mps2-an385 -icount shift=0`, and prints how many logits differ and the instructions of a beat.
 *
 * With that option an instruction takes 1 ns of the emulated clock; SysTick counts at 25 MHz, once in 40 instructions.
 */
#include <stdint.h>

#include "deep_ecg_network.h"
#include "golden.h"

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define SYSTICK_MASK 0xFFFFFFu
#define INSTRUCTIONS_PER_TICK 40u

void reset(void); /* where the processor starts, see cortex_m3.ld */

/* ARM's semihosting: the host acts for the program. */
static void call_host(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(const char *name, uint32_t value)
{
    char digits[12] = {0};
    int at = 11;
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    call_host(4, name);
    call_host(4, digits + at);
    call_host(4, "\n");
}

void reset(void)
{
    uint32_t wrong = 0, start, ticks;
    SYSTICK_RELOAD = SYSTICK_MASK;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 5; /* on, with the processor's clock */
    start = SYSTICK_VALUE;
    for (int beat = 0; beat < GOLDEN_BEATS; beat++) {
        int8_t logits[DEEP_ECG_CLASSES];
        deep_ecg_network_run(
            (const int8_t *)golden_window_q + beat * DEEP_ECG_WINDOW_SAMPLES * DEEP_ECG_CHANNELS,
            (const int8_t *)golden_features_q + beat * DEEP_ECG_FEATURES, logits);
        for (int i = 0; i < DEEP_ECG_CLASSES; i++)
            wrong += logits[i] != golden_logits[beat * DEEP_ECG_CLASSES + i];
    }
    ticks = (start - SYSTICK_VALUE) & SYSTICK_MASK;
    print("beats ", GOLDEN_BEATS);
    print("wrong ", wrong);
    print("instructions ", ticks / GOLDEN_BEATS * INSTRUCTIONS_PER_TICK);
    call_host(0x18, (const void *)0x20026);
    for (;;) {
    }
}
