/* Acquires and releases a lock of each store that the arguments name. */
#include <stdio.h>

int example_lock(const char *url);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (example_lock(argv[i]) != 0)
            return 1;
        printf("held a lock of %s\n", argv[i]);
    }
    return 0;
}
