/* Labels the beats of one lead. Standard input: one sample a line, at DEEP_ECG_FS_HZ, in millivolts or in counts of a
 * converter; "nan" or an empty line where the signal is lost. Standard output: a line a beat. Build and run:
 *
 *     cc -std=c99 -O2 example.c deep_ecg.c -lm -o example
 *     ./example < samples.txt
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deep_ecg.h"

#define WRONG_INPUT 2

/* Reads the sample of `line`; false where the line is anything but one number. */
static bool read_sample(const char *line, float *mv)
{
    char *end;
    *mv = strtof(line, &end);
    if (end == line)
        *mv = NAN;
    while (isspace((unsigned char)*end))
        end++;
    return *end == '\0';
}

int main(void)
{
    static struct deep_ecg ecg;
    struct deep_ecg_beat beat;
    char line[64];
    long number = 0;

    deep_ecg_init(&ecg);
    while (fgets(line, sizeof line, stdin)) {
        float mv;
        number++;
        if (!read_sample(line, &mv) || strlen(line) == sizeof line - 1) {
            line[strcspn(line, "\r\n")] = '\0';
            fprintf(stderr, "error: line %ld, \"%s\": one number a line is needed, such as 0.12\n", number, line);
            return WRONG_INPUT;
        }
        for (int more = deep_ecg_push(&ecg, mv, &beat); more; more = deep_ecg_next(&ecg, &beat))
            printf("%.3f s  %c%s\n", (double)beat.sample / DEEP_ECG_FS_HZ, DEEP_ECG_CLASS_NAMES[beat.label],
                   beat.quality == DEEP_ECG_NOISY ? "  (noisy)" : "");
    }
    return 0;
}
