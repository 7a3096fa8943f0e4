import { compressSync } from 'lz4-napi';

/**
 * Magic number; version 1, independent blocks, no checksums; blocks of at most 64 KiB; second byte of the descriptor's xxHash32. Kafka's
 * record batches have a checksum of their own, and KIP-57 asks for independent blocks.
 */
const FRAME_START = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
const FRAME_END = Buffer.alloc(4);
export const LZ4_BLOCK_BYTES_MAX = 64 * 1024;
/** Below this a block is stored as it is: nothing to gain. */
const COMPRESSED_FROM_BYTES = 128;
/** Set in a block's length where it is stored as it is. */
const STORED = 0x8000_0000;
/** lz4-napi puts the size of the content before a block, where the frame has the block's own. */
const SIZE_BYTES = 4;

/**
 * An LZ4 frame (lz4_Frame_format.md 1.6.4) in the making. Pieces are compressed where they lie: what is written becomes one block, or several
 * of about the same size, without being copied. lz4-napi's own frame functions want everything in one piece, and cost half as much again.
 */
export class Lz4Frame {
  readonly #chunks: Buffer[] = [FRAME_START];

  /** Bytes that do not shrink are kept by reference. */
  write(bytes: Buffer): void {
    const blocks = Math.ceil(bytes.length / LZ4_BLOCK_BYTES_MAX);
    const blockBytes = Math.ceil(bytes.length / blocks);
    for (let at = 0; at < bytes.length; at += blockBytes) this.#block(bytes.subarray(at, at + blockBytes));
  }

  /** The frame; nothing can be written any more. */
  end(): Buffer[] {
    this.#chunks.push(FRAME_END);
    return this.#chunks;
  }

  #block(content: Buffer): void {
    if (content.length >= COMPRESSED_FROM_BYTES) {
      const block = compressSync(content);
      const blockBytes = block.length - SIZE_BYTES;
      if (blockBytes < content.length) {
        block.writeUInt32LE(blockBytes, 0);
        this.#chunks.push(block);
        return;
      }
    }
    const length = Buffer.allocUnsafe(SIZE_BYTES);
    length.writeUInt32LE((STORED | content.length) >>> 0, 0);
    this.#chunks.push(length, content);
  }
}
