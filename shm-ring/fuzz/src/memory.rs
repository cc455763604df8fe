//! Memory: an allocator that counts what the library asks for, so that a length out of a hostile file can't become an allocation.
//!
//! (I1) no single allocation exceeds the limit; the fuzzer's own ones are C++ and not seen here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// What a report needs beside the file's size.
const SLACK_BYTES: usize = 8192;

struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

/// From now on no allocation is larger than a file of `bytes`.
pub fn limit_to(bytes: usize) {
    LIMIT.store(bytes + SLACK_BYTES, Ordering::Relaxed);
}

/// From now on everything goes.
pub fn unlimited() {
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}

fn check(bytes: usize) {
    let limit = LIMIT.load(Ordering::Relaxed);
    // A report of something else may be as long as it likes.
    if bytes > limit && !std::thread::panicking() {
        unlimited();
        panic!("an allocation of {bytes} bytes, {limit} are allowed");
    }
}

// SAFETY:
// - every call is handed to the system's allocator with the arguments it came with;
// - `check` unwinds before anything was allocated; the targets abort on a panic.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}
