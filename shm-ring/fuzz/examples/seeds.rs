//! Seeds: writes the corpus that every run starts from, `cargo run --example seeds` in this folder.
//!
//! | file | is |
//! |------|----|
//! | `walk-N` | a script of every shape's handles and forgeries, drawn from N |
//! | `sound-N` | the same calls on a ring that nobody forged |
//! | `raw-N` | a whole ring file, byte for byte (`open_image` only) |
//!
//! Files of other names show a mistake that was mended; they are kept as they were found.

use shm_ring_fuzz::image::{Image, SHAPES};
use std::fs;
use std::io::Result;
use std::path::Path;

/// The first byte of `open_image` that means: these bytes are the file.
const RAW: u8 = 1;

fn main() -> Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in ["open_image", "read_frames", "concurrent_mutator"] {
        let folder = seeds.join(target);
        fs::create_dir_all(&folder)?;
        for n in 0..8u8 {
            let shape = n.wrapping_mul(37) % SHAPES;
            let mut random = u64::from(n) + 1;
            let script: Vec<u8> = (0..600).map(|_| next(&mut random)).collect();
            // How, then the shape, or the other way round; then how many forgeries there are.
            let (head, none): ([u8; 2], &[u8]) = match target {
                "open_image" => ([n << 1 & 10, shape], &[0, 0]),
                "read_frames" => ([shape, n << 5], &[0]),
                _ => ([shape, n * 4 % 32], &[0]),
            };
            fs::write(folder.join(format!("walk-{n}")), [&head[..], &script].concat())?;
            fs::write(folder.join(format!("sound-{n}")), [&head[..], none, &script[..300]].concat())?;
        }
    }
    let path = std::env::temp_dir().join(format!("seeds-{}.ring", std::process::id()));
    for (n, shape) in [0, 8].into_iter().enumerate() {
        let image = Image::sound(shape, &path);
        fs::write(seeds.join(format!("open_image/raw-{n}")), [&[RAW], &image.bytes[..]].concat())?;
    }
    fs::remove_file(path)
}

/// SplitMix64's top byte.
fn next(state: &mut u64) -> u8 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ z >> 31) >> 56) as u8
}
