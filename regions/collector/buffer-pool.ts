/** Memory that is lent: `release` gives it back, once, when nobody reads it any more. Not releasing it is no leak, only waste. */
export interface PooledBuffer {
  /** Exactly as long as was asked for; what stands in it is whatever stood there before. */
  readonly bytes: Buffer;
  release(): void;
}

const CLASS_BYTES_MIN = 64 * 1024;
const CLASS_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Lends the buffers that bodies and records pass through. Without it each of them is memory outside of V8's heap that only a
 * collection of the whole heap gives back, which V8 starts after every 64 MiB of it: a third of the collector's processor time.
 * Sizes are rounded up to powers of two; what is larger than `CLASS_BYTES_MAX` is not kept.
 */
export class BufferPool {
  readonly #free = new Map<number, Buffer[]>();
  readonly #keptBytesMax: number;
  #keptBytes = 0;

  /** `keptBytesMax`: how much may lie idle. */
  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  take(length: number): PooledBuffer {
    if (length > CLASS_BYTES_MAX) return { bytes: Buffer.allocUnsafeSlow(length), release() {} };
    let size = CLASS_BYTES_MIN;
    while (size < length) size *= 2;
    let whole = this.#free.get(size)?.pop();
    if (whole) this.#keptBytes -= size;
    else whole = Buffer.allocUnsafeSlow(size);
    let lent: Buffer | null = whole;
    return {
      bytes: whole.subarray(0, length),
      release: () => {
        if (lent) this.#keep(lent);
        lent = null;
      },
    };
  }

  /** The chunks one after the other in one buffer; `length` is the sum of theirs. */
  join(chunks: readonly Uint8Array[], length: number): PooledBuffer {
    const joined = this.take(length);
    let at = 0;
    for (const chunk of chunks) {
      joined.bytes.set(chunk, at);
      at += chunk.length;
    }
    return joined;
  }

  #keep(buffer: Buffer): void {
    if (this.#keptBytes + buffer.length > this.#keptBytesMax) return;
    this.#keptBytes += buffer.length;
    const free = this.#free.get(buffer.length);
    if (free) free.push(buffer);
    else this.#free.set(buffer.length, [buffer]);
  }
}
