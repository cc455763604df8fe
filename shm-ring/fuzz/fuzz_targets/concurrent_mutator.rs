//! Mutate: another thread writes header, live page, slots and frames through a mapping of its own, over and over, while the handles of
//! this one are in use.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memmap2::{MmapOptions, MmapRaw};
use shm_ring::Ring;
use shm_ring_fuzz::{handles::Handles, image::Image, scratch::Scratch, script::Script};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Rounds of the calls, so that they meet the writes in more than one place.
const ROUNDS: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    let scratch = Scratch::of_process();
    let mut script = Script::new(bytes);
    let image = scratch.sound(script.byte());
    let how = script.byte();
    scratch.fill(&image.bytes);
    let n = usize::from(script.byte());
    let mut forgeries = script.split(n);
    let mut steps: Vec<Vec<(u64, u64)>> = vec![];
    for _ in 0..16 {
        if forgeries.is_over() {
            break;
        }
        let forged = image.forge(&mut forgeries);
        // Undone now and then, so that the next round begins with something that is right.
        let before: Vec<_> = forged.iter().map(|(at, _)| (*at, image.word(*at))).collect();
        steps.push(forged);
        if forgeries.byte() % 2 == 0 {
            steps.push(before);
        }
    }
    let map =
        MmapOptions::new().len(image.bytes.len()).map_raw(scratch.file()).expect("the file can be mapped");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| mutate(&map, &image, &steps, how, &over));
        for _ in 0..ROUNDS {
            let mut script = script.clone();
            if let Ok(ring) = Ring::open(scratch.path()) {
                let mut handles = Handles::of_ring(&ring);
                handles.attach_all();
                handles.run(&mut script, None);
            }
            if how & 8 != 0 {
                if let Ok(observer) = Ring::open_observer(scratch.path()) {
                    Handles::of_observer(observer).run(&mut script, None);
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
});

fn mutate(map: &MmapRaw, image: &Image, steps: &[Vec<(u64, u64)>], how: u8, over: &AtomicBool) {
    let word = |at: u64| {
        assert!(at % 8 == 0 && at + 8 <= map.len() as u64);
        // SAFETY: in bounds, asserted above.
        let word = unsafe { map.as_mut_ptr().add(at as usize) }.cast::<AtomicU64>();
        // SAFETY:
        // - aligned: asserted above, and the map begins with a page;
        // - alive: the map outlives the reference, which is used in one statement;
        // - racing plain accesses, to payload in a consumer's hands, are what this target is about.
        unsafe { &*word }
    };
    let mut round = 0u64;
    while !over.load(Ordering::Relaxed) {
        for step in steps {
            step.iter().for_each(|(at, value)| word(*at).store(*value, Ordering::Relaxed));
            if how & 1 != 0 {
                std::hint::spin_loop();
            }
        }
        // A chain without end: a pad where the tail stands, and the tail behind it.
        if how & 2 != 0 {
            let tail = word(image.tail_at()).load(Ordering::Relaxed) & !15;
            for (at, value) in image.frame(tail, 3, 0, 0) {
                word(at).store(value, Ordering::Relaxed);
            }
            word(image.tail_at()).store(tail.wrapping_add(16), Ordering::Relaxed);
        }
        // Grants that run ahead of whoever joins.
        if how & 4 != 0 {
            let tail = word(image.tail_at()).fetch_add(4096, Ordering::Relaxed);
            word(image.tail_at() + 128).store(tail.wrapping_add(image.capacity + 4096), Ordering::Relaxed);
        }
        round += 1;
        if round % 64 == 0 && how & 16 != 0 {
            std::thread::yield_now();
        }
    }
}
