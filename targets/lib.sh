# What targets/build and targets/test-qemu share. Sourced in the root of the repository.

# All that is tested as a board. One selection wherever cargo is called: another one would mean other features of shared
# crates, and building tract anew.
PACKAGES=(-p frcnn-core -p frcnn-kernels -p frcnn-bundle -p frcnn-proposals -p frcnn -p frcnn-capi)

usage() { # SCRIPT
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1" >&2
    echo "Boards:" targets/*.toml | sed 's|targets/||g; s|\.toml||g' >&2
    exit 2
}

field() { # BOARD KEY: a string or a number of its .toml
    sed -n "s/^$2 = \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "targets/$1.toml"
}

prepare() { # TRIPLE: sets CC and STRIP, and says what is missing
    CC=cc STRIP=strip
    if [ "$1" = aarch64-unknown-linux-gnu ] && [ "$(uname -m)" != aarch64 ]; then
        CC=aarch64-linux-gnu-gcc STRIP=aarch64-linux-gnu-strip
        command -v "$CC" >/dev/null || {
            echo "no $CC: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2
            exit 1
        }
    fi
    [ -d "$(rustc --print sysroot)/lib/rustlib/$1" ] || {
        echo "Rust has no standard library for $1: rustup target add $1 (targets/README.md tells another way)" >&2
        exit 1
    }
}

mosquitto() { # TRIPLE: whether libmosquitto is there for it
    case $1 in
    x86_64-*) pkg-config --exists libmosquitto && echo yes || echo no ;;
    *) [ -e /usr/lib/aarch64-linux-gnu/libmosquitto.so ] && echo yes || echo no ;;
    esac
}
