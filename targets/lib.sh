# What the scripts in targets/ share. Sourced in the root of the repository.

# All that is built for a board and tested as one. One selection and one profile wherever cargo is called: another one
# would mean other features of shared crates, and building tract anew.
CARGO_FLAGS=(--profile board --locked --no-default-features -p frcnn-core -p frcnn-kernels -p frcnn-bundle
    -p frcnn-proposals -p frcnn -p frcnn-capi -p frcnn-cli)
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
    CC=cc STRIP=strip
    [ "$1" = $AARCH64 ] && [ "$(uname -m)" != aarch64 ] || return 0
    CC=aarch64-linux-gnu-gcc STRIP=aarch64-linux-gnu-strip
    command -v "$CC" >/dev/null || {
        echo "no $CC: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2
        exit 1
    }
    RUSTUP_TOOLCHAIN=$(targets/get-std)
    export RUSTUP_TOOLCHAIN
}

mosquitto() { # TRIPLE: whether libmosquitto is there for it
    case $1 in
    x86_64-*) pkg-config --exists libmosquitto && echo yes || echo no ;;
    *) [ -e /usr/lib/aarch64-linux-gnu/libmosquitto.so ] && echo yes || echo no ;;
    esac
}
