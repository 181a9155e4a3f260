/*
 * A qemu plugin that counts the aarch64 instructions a program executes, all threads together: in all, and by class. It prints
 * the numbers at the program's end, and before each write to standard error, so that a program can mark what is to be counted.
 * qemu 7.2's user-mode emulators take it; Debian's package lacks the header, so what is used of it stands here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_info;
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*qemu_plugin_vcpu_syscall_cb_t)(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2,
                                              uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);
typedef void (*qemu_plugin_udata_cb_t)(qemu_plugin_id_t id, void *userdata);
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t cb);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, enum qemu_plugin_op op, void *ptr, uint64_t imm);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_syscall_cb_t cb);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, qemu_plugin_udata_cb_t cb, void *userdata);

int qemu_plugin_version = 1;

enum class { FMA_F32, FMA_F16, INT8, LOAD, STORE, REST, CLASSES };
static const char *const names[CLASSES] = {"fma_f32", "fma_f16", "int8", "load", "store", "rest"};

/* Instructions that were translated together, and how often they were executed. */
struct block {
    uint64_t executed;
    uint32_t of[CLASSES];
    struct block *next;
};
static struct block *blocks;

static uint32_t bits(uint32_t insn, int high, int low) { return insn >> low & ((1u << (high - low + 1)) - 1); }

/* What follows reads the encodings of the Arm Architecture Reference Manual, section C4.1. */

static enum class memory(uint32_t insn) {
    bool vector = bits(insn, 26, 26);
    uint32_t op = bits(insn, 23, 22);
    switch (bits(insn, 29, 27)) {
    case 3: /* a literal, and some that hardly occur */
        return LOAD;
    case 7: /* one register */
        if (!vector && op == 2 && bits(insn, 31, 30) == 3)
            return REST; /* a prefetch */
        return (vector ? op & 1 : op) ? LOAD : STORE;
    default: /* pairs, structures of vectors, exclusive access */
        return op & 1 ? LOAD : STORE;
    }
}

/* Vectors of equal lengths: FMLA, FMLS, FMLAL; of half precision; SDOT, SMMLA and their like; SMLAL, SMULL. */
static enum class three_vectors(uint32_t insn) {
    uint32_t size = bits(insn, 23, 22), unsign = bits(insn, 29, 29);
    if (bits(insn, 21, 21) && bits(insn, 10, 10)) {
        uint32_t op = bits(insn, 15, 11);
        if (op == 0x19 && !unsign && !(size & 1))
            return FMA_F32;
        if ((op == 0x1d && !unsign && !(size & 1)) || (op == 0x19 && unsign && !(size & 1)))
            return FMA_F16;
        return (op == 0x12 && !unsign) ? INT8 : REST; /* MLA */
    }
    if (bits(insn, 22, 21) == 2 && bits(insn, 15, 14) == 0 && bits(insn, 10, 10))
        return bits(insn, 13, 11) == 1 && !unsign ? FMA_F16 : REST;
    if (!bits(insn, 21, 21) && bits(insn, 15, 15) && bits(insn, 10, 10)) {
        uint32_t op = bits(insn, 14, 11);
        return op >= 2 && op <= 5 && size == 2 ? INT8 : REST;
    }
    if (bits(insn, 21, 21) && bits(insn, 11, 10) == 0) {
        uint32_t op = bits(insn, 15, 12);
        return op == 8 || op == 12 ? INT8 : REST;
    }
    return REST;
}

/* The same, by one element of the last vector. */
static enum class by_element(uint32_t insn) {
    uint32_t size = bits(insn, 23, 22), op = bits(insn, 15, 12), unsign = bits(insn, 29, 29);
    if ((op == 1 || op == 5) && !unsign && size != 1)
        return size == 2 ? FMA_F32 : size == 0 ? FMA_F16 : REST;
    if (size == 2 && ((op == 0 && !unsign) || (op == 8 && unsign)))
        return FMA_F16; /* FMLAL, FMLAL2: products of f16, sums of f32 */
    if ((op == 14 && size == 2) || (op == 15 && !unsign && !(size & 1)))
        return INT8; /* SDOT, UDOT, SUDOT, USDOT */
    return op == 2 || op == 10 ? INT8 : REST; /* SMLAL, SMULL */
}

static enum class class_of(uint32_t insn) {
    if (bits(insn, 27, 27) && !bits(insn, 25, 25))
        return memory(insn);
    if (bits(insn, 31, 24) == 0x1f) /* FMADD and its like, of scalars */
        return bits(insn, 23, 22) == 0 ? FMA_F32 : bits(insn, 23, 22) == 3 ? FMA_F16 : REST;
    if (bits(insn, 31, 31) == 0 && bits(insn, 28, 24) == 0x0e)
        return three_vectors(insn);
    if (bits(insn, 31, 31) == 0 && bits(insn, 28, 24) == 0x0f && bits(insn, 10, 10) == 0)
        return by_element(insn);
    return REST;
}

/* Counts are not atomic: programs to be counted compute on one thread. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    if (!block)
        abort();
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        uint32_t insn;
        memcpy(&insn, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof insn);
        block->of[class_of(insn)]++;
    }
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->executed, 1);
}

/* Prints how many were executed of each class, and returns how many in all. */
static uint64_t report(void) {
    uint64_t of[CLASSES] = {0}, all = 0;
    for (struct block *block = blocks; block; block = block->next)
        for (int class = 0; class < CLASSES; class++)
            of[class] += block->executed * block->of[class];
    fprintf(stderr, "classes:");
    for (int class = 0; class < CLASSES; class++) {
        fprintf(stderr, " %s=%" PRIu64, names[class], of[class]);
        all += of[class];
    }
    fprintf(stderr, "\n");
    return all;
}

static void called(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == 64 && a1 == 2) /* write(2, ...) */
        report();
}

static void ended(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    uint64_t all = report();
    fprintf(stderr, "instructions: %" PRIu64 "\n", all);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_plugin_info *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
