/* Labels the beats of one lead. Standard input: samples in millivolts, one a line, at DEEP_ECG_FS_HZ; what is not a
 * number counts as lost signal. Standard output: a line a beat. Build and run:
 *
 *     cc -std=c99 -O2 example.c deep_ecg.c -lm -o example
 *     ./example < samples.txt
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "deep_ecg.h"

int main(void)
{
    static struct deep_ecg ecg;
    struct deep_ecg_beat beat;
    char line[64];

    deep_ecg_init(&ecg);
    while (fgets(line, sizeof line, stdin)) {
        char *end;
        const float mv = strtof(line, &end);
        for (int more = deep_ecg_push(&ecg, end == line ? NAN : mv, &beat); more; more = deep_ecg_next(&ecg, &beat))
            printf("%.3f s  %c%s\n", (double)beat.sample / DEEP_ECG_FS_HZ, DEEP_ECG_CLASS_NAMES[beat.label],
                   beat.late ? "  (found by looking back)" : "");
    }
    return 0;
}
