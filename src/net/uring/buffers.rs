//! The receive buffers lent to the kernel: a ring of descriptors and the memory they point to.
//!
//! ```text
//! descriptors  [addr len id][addr len id]…   `count` of 16 bytes; the tail is inside the first
//! buffers      [ 0 ][ 1 ][ 2 ]…              `count` of 1,280 bytes, from the next page on
//!   each       kernel header 16 │ address 32 │ control 24 │ payload ≤ 1,200
//! ```
//! A buffer belongs to the kernel from [`put_back`](BufferRing::put_back) and
//! [`publish`](BufferRing::publish) until a completion names it, and to us from then on. This file
//! keeps the memory; `uring` keeps the order.
#![allow(unsafe_code)]

use crate::limits::DATAGRAM_MAX;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Room for the sender's address (an IPv6 address needs 28).
pub(super) const NAME_ROOM: usize = 32;
/// Room for control messages: the drop total and nothing else is ever asked for.
pub(super) const CONTROL_ROOM: usize = crate::net::receive::CONTROL_DROPS;
/// Where the payload starts in a buffer: behind the kernel's four integers, the address and the
/// control data.
pub(super) const PAYLOAD_AT: usize = 16 + NAME_ROOM + CONTROL_ROOM;
/// Bytes the kernel may use of each buffer. What does not fit is cut off and reported as truncated.
pub(super) const BUFFER_LEN: usize = PAYLOAD_AT + DATAGRAM_MAX;
/// Distance of two buffers: whole cache lines.
const STRIDE: usize = BUFFER_LEN.next_multiple_of(64);
const PAGE: usize = 4096;

const _: () = assert!(PAYLOAD_AT.is_multiple_of(8), "payloads are aligned");
const _: () = assert!(size_of::<BufRingEntry>() == 16);

/// See the file's comment.
pub(super) struct BufferRing {
    memory: NonNull<u8>,
    layout: Layout,
    /// Where the buffers begin in `memory`; the descriptors are at its start.
    buffers_at: usize,
    /// Buffers, a power of two up to 32,768.
    count: u16,
    /// Descriptors ever written, modulo 2^16. The kernel sees it once it is published.
    tail: u16,
}

impl BufferRing {
    /// `count` buffers, all ready to be lent. `count` is rounded up to a power of two.
    pub(super) fn new(count: u16) -> io::Result<Self> {
        let count = count.clamp(2, 1 << 15).next_power_of_two();
        let buffers_at = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(PAGE);
        let layout = Layout::from_size_align(buffers_at + usize::from(count) * STRIDE, PAGE)
            .map_err(io::Error::other)?;
        // SAFETY: the layout is not of size zero, because there are at least two buffers.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) })
            .unwrap_or_else(|| handle_alloc_error(layout));
        for page in (0..layout.size()).step_by(PAGE) {
            // Zeroed memory is a promise until it is touched; better now than during the first
            // tick. SAFETY: `page` lies inside the allocation.
            unsafe { memory.as_ptr().add(page).write_volatile(0) };
        }
        let mut ring = Self { memory, layout, buffers_at, count, tail: 0 };
        (0..count).for_each(|id| ring.put_back(id));
        ring.publish();
        Ok(ring)
    }

    /// Buffers.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Address of the descriptors, for the registration with the kernel.
    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// The first `len` bytes of buffer `id`: initialized, and valid as long as `self`. To be
    /// dereferenced only between the completion that hands the buffer over and `put_back(id)`, and
    /// not twice at a time.
    pub(super) fn filled(&self, id: u16, len: usize) -> *mut [u8] {
        let at = self.offset(id);
        // SAFETY: `offset` keeps `at` inside the allocation.
        let start = unsafe { self.memory.as_ptr().add(at) };
        std::ptr::slice_from_raw_parts_mut(start, len.min(BUFFER_LEN))
    }

    fn offset(&self, id: u16) -> usize {
        assert!(id < self.count, "the kernel names only buffers that were lent to it");
        self.buffers_at + usize::from(id) * STRIDE
    }

    /// Writes a descriptor for buffer `id`. The kernel sees it after the next
    /// [`publish`](Self::publish).
    ///
    /// The caller puts back what a completion handed over, once; then the ring never holds more
    /// than `count` descriptors and the one overwritten here was consumed long ago.
    pub(super) fn put_back(&mut self, id: u16) {
        let at = self.offset(id);
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index < count`, so the descriptor lies in the page-aligned front of the
        // allocation, and `at` inside its rear. The kernel reads descriptors below the published
        // tail only, and this one is not below it. The setters leave the field alone that doubles
        // as the tail in descriptor 0.
        unsafe {
            let address = self.memory.as_ptr().add(at) as u64;
            let entry = &mut *self.memory.as_ptr().cast::<BufRingEntry>().add(index);
            entry.set_addr(address);
            entry.set_len(BUFFER_LEN as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see all descriptors written so far.
    pub(super) fn publish(&mut self) {
        // SAFETY: the base pointer is that of the first descriptor, which is initialized; the tail
        // inside it is a u16, aligned, valid as long as the allocation, and shared with the kernel
        // only through atomic accesses. Release: the kernel must see the descriptors before it sees
        // the tail.
        unsafe {
            let tail = BufRingEntry::tail(self.memory.as_ptr().cast());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout. `uring` drops the ring only when the
        // kernel has no request left that could use it.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}
