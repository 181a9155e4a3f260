# What the scripts in targets/ share. Sourced in the root of the repository.

# All that is tested for a board, as one. One selection and one profile wherever cargo is called: another one would mean
# other features of shared crates, and building tract anew.
TESTED=(--profile board --locked --no-default-features -p frcnn-core -p frcnn-kernels -p frcnn-bundle
    -p frcnn-proposals -p frcnn -p frcnn-capi -p frcnn-cli -p frcnn-camera)
# All that is built. The service's tests take the compiler, which no board has.
CARGO_FLAGS=("${TESTED[@]}" -p frcnn-serve)
AARCH64=aarch64-unknown-linux-gnu
QEMU=(qemu-aarch64-static -L /usr/aarch64-linux-gnu)

usage() { # SCRIPT
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1" >&2
    echo "Boards:" targets/*.toml | sed 's|targets/||g; s|\.toml||g' >&2
    exit 2
}

field() { # BOARD KEY: a string or a number of its .toml
    sed -n "s/^$2 = \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "targets/$1.toml"
}

prepare() { # TRIPLE: sets CC and STRIP, finds Rust's standard library, and says what is missing
    CC=cc
    export STRIP=strip # src/capi/install asks for it.
    [ "$1" = $AARCH64 ] && [ "$(uname -m)" != aarch64 ] || return 0
    CC=aarch64-linux-gnu-gcc STRIP=aarch64-linux-gnu-strip
    command -v "$CC" >/dev/null || {
        echo "no $CC: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2
        exit 1
    }
    RUSTUP_TOOLCHAIN=$(targets/get-std)
    export RUSTUP_TOOLCHAIN
}

compile_for() { # TRIPLE CPU: of what follows in target/
    # Cargo tells builds for different CPUs apart by hashes in file names, which the C library's do not have.
    local last=target/$1/board/cpu
    mkdir -p "${last%/*}"
    [ "$(cat "$last" 2>/dev/null || echo "$2")" = "$2" ] || rm -f "target/$1/board/deps/libfrcnn_capi".*
    echo "$2" > "$last"
    # The CPU counts where frames are computed, in this workspace's crates; the others are built once for all boards of
    # a triple. Build scripts run here and are left alone.
    [ "$2" != generic ] || return 0
    export RUSTC_WORKSPACE_WRAPPER=$PWD/target/boards/rustc-$2
    [ -x "$RUSTC_WORKSPACE_WRAPPER" ] || {
        mkdir -p target/boards
        printf '#!/bin/sh\ncase " $* " in *" --target %s "*) exec "$@" -C target-cpu=%s ;; esac\nexec "$@"\n' \
            "$1" "$2" > "$RUSTC_WORKSPACE_WRAPPER"
        chmod +x "$RUSTC_WORKSPACE_WRAPPER"
    }
}

mosquitto() { # TRIPLE: whether libmosquitto is there for it
    case $1 in
    x86_64-*) pkg-config --exists libmosquitto && echo yes || echo no ;;
    *) [ -e /usr/lib/aarch64-linux-gnu/libmosquitto.so ] && echo yes || echo no ;;
    esac
}
