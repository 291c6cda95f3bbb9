/* Ring all-reduce in C for SimGrid's SMPI (any MPI compiles it): smpi_ring CALLS ANSWER
 *
 * ANSWER receives rank 0's seconds of real time for CALLS all-reduces (one double), then the 4p doubles of
 * each rank's result. The input is that of ring_input() in __init__.py.
 * There is no mutable global, so SMPI may run it without privatising globals, which is its fastest way. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 4

/* SMPI replaces clock_gettime by its virtual clock; the system call still tells real time. */
static double real_seconds(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void allreduce(const double *x, double *result, int rank, int p) {
    int left = (rank + p - 1) % p, right = (rank + 1) % p;
    double scratch[CHUNK];
    memcpy(result, x, sizeof(double) * CHUNK * p);
    for (int step = 0; step < p - 1; step++) {
        double *out = result + CHUNK * ((rank - step + p) % p);
        double *in = result + CHUNK * ((rank - step - 1 + p) % p);
        MPI_Sendrecv(out, CHUNK, MPI_DOUBLE, right, 0, scratch, CHUNK, MPI_DOUBLE, left, 0, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        for (int i = 0; i < CHUNK; i++)
            in[i] += scratch[i];
    }
    for (int step = 0; step < p - 1; step++) {
        double *out = result + CHUNK * ((rank + 1 - step + p) % p);
        double *in = result + CHUNK * ((rank - step + p) % p);
        MPI_Sendrecv(out, CHUNK, MPI_DOUBLE, right, 0, in, CHUNK, MPI_DOUBLE, left, 0, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
    }
}

static void save(const char *path, double seconds, const double *result, int rank, int p) {
    FILE *file = fopen(path, rank == 0 ? "wb" : "r+b");
    if (!file) {
        perror(path);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    if (rank == 0)
        fwrite(&seconds, sizeof seconds, 1, file);
    else
        fseek(file, (long)sizeof(double) * (1 + (long)rank * CHUNK * p), SEEK_SET);
    fwrite(result, sizeof(double), (size_t)CHUNK * p, file);
    fclose(file);
}

int main(int argc, char **argv) {
    int rank, p;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &p);
    if (argc != 3) {
        fprintf(stderr, "usage: %s CALLS ANSWER\n", argv[0]);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    double *x = malloc(sizeof(double) * CHUNK * p), *result = malloc(sizeof(double) * CHUNK * p);
    for (int i = 0; i < CHUNK * p; i++)
        x[i] = (31 * rank + 17 * i) % 1000;
    MPI_Barrier(MPI_COMM_WORLD);
    double start = real_seconds();
    for (int call = 0; call < atoi(argv[1]); call++)
        allreduce(x, result, rank, p);
    MPI_Barrier(MPI_COMM_WORLD);
    double seconds = real_seconds() - start;
    if (rank == 0)
        save(argv[2], seconds, result, rank, p);
    MPI_Barrier(MPI_COMM_WORLD); /* rank 0 creates the file */
    if (rank != 0)
        save(argv[2], seconds, result, rank, p);
    free(x);
    free(result);
    MPI_Finalize();
    return 0;
}
