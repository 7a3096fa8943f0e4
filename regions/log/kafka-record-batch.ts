import type { LogEntry } from '../../global/log/span-log.js';
import { asBuffer } from '../../global/runtime/bytes.js';
import { crc32c } from './kafka-crc32c.js';
import { Lz4Frame } from './kafka-lz4-frame.js';

/** Records of one batch, encoded; which producer sends them is not in it yet. */
export interface EncodedRecords {
  readonly count: number;
  readonly lz4: boolean;
  readonly createdMs: number;
  /** One after the other. Those of entries that were not compressed are the entries' own memory. */
  readonly chunks: readonly Buffer[];
  readonly bytes: number;
}

/** The producer that a broker counts a batch under, and the batch's place among all that it sends to the partition. */
export interface ProducerStamp {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  /** Of the first record. */
  readonly sequence: number;
}

/** Values, keys and headers from this on are not copied. */
const REFERENCED_FROM_BYTES = 8 * 1024;
const SCRATCH_BYTES_MAX = 64 * 1024;
/** Length, attributes, time delta, offset delta, lengths of key and value, number of headers. */
const RECORD_FRAME_BYTES_MAX = 5 + 1 + 1 + 5 + 5 + 5 + 5;
const HEADER_FRAME_BYTES_MAX = 5 + 5;

/**
 * The records of a batch in message format v2 (Kafka protocol guide, "Record Batch"; KIP-98), all created at one time. At least one entry.
 * Small parts are gathered, large ones are passed on as they lie: a value is not copied on its way to lz4 or to the socket.
 */
export function encodeRecords(entries: readonly LogEntry[], lz4: boolean, createdMs: number): EncodedRecords {
  const sink = lz4 ? new Lz4Frame() : new ChunkList();
  const writer = new PartWriter(sink, scratchBytes(entries));
  for (const [index, entry] of entries.entries()) writeRecord(writer, entry, index);
  writer.flush();
  const chunks = sink.end();
  let bytes = 0;
  for (const chunk of chunks) bytes += chunk.length;
  return { count: entries.length, lz4, createdMs, chunks, bytes };
}

/** Of what goes before the records in a batch. */
export const BATCH_HEADER_BYTES = 61;
/** What the length in the header does not count: the base offset and itself. */
const UNCOUNTED_BYTES = 12;
const CHECKSUM_AT = 17;
const CHECKED_FROM = 21;
const MAGIC = 2;
const LZ4_CODEC = 3;

/** The header of a batch, with the checksum over it and the records. Offset and leader epoch are the broker's to fill in. */
export function batchHeader(records: EncodedRecords, stamp: ProducerStamp): Buffer {
  const header = Buffer.allocUnsafe(BATCH_HEADER_BYTES);
  const createdMs = BigInt(records.createdMs);
  header.writeBigInt64BE(0n, 0);
  header.writeInt32BE(BATCH_HEADER_BYTES - UNCOUNTED_BYTES + records.bytes, 8);
  header.writeInt32BE(-1, 12);
  header.writeInt8(MAGIC, 16);
  header.writeInt16BE(records.lz4 ? LZ4_CODEC : 0, CHECKED_FROM);
  header.writeInt32BE(records.count - 1, 23);
  header.writeBigInt64BE(createdMs, 27);
  header.writeBigInt64BE(createdMs, 35);
  header.writeBigInt64BE(stamp.producerId, 43);
  header.writeInt16BE(stamp.producerEpoch, 51);
  header.writeInt32BE(stamp.sequence, 53);
  header.writeInt32BE(records.count, 57);
  header.writeUInt32BE(crc32c([header.subarray(CHECKED_FROM), ...records.chunks]), CHECKSUM_AT);
  return header;
}

/** The sequence after `count` records: 31 bits that wrap. */
export function sequenceAfter(sequence: number, count: number): number {
  return (sequence + count) % 2 ** 31;
}

interface ByteSink {
  /** Takes them by reference, or at once. */
  write(bytes: Buffer): void;
  end(): Buffer[];
}

class ChunkList implements ByteSink {
  readonly #chunks: Buffer[] = [];

  write(bytes: Buffer): void {
    this.#chunks.push(bytes);
  }

  end(): Buffer[] {
    return this.#chunks;
  }
}

/** Enough for all small parts where they are few. */
function scratchBytes(entries: readonly LogEntry[]): number {
  let bytes = 0;
  for (const { key, value, headers } of entries) {
    bytes += RECORD_FRAME_BYTES_MAX + smallBytes(value) + (key ? smallBytes(key) : 0);
    for (const name of Object.keys(headers)) {
      bytes += HEADER_FRAME_BYTES_MAX + 3 * name.length + smallBytes(headers[name]!);
    }
    if (bytes > SCRATCH_BYTES_MAX) return SCRATCH_BYTES_MAX;
  }
  return bytes;
}

function smallBytes(bytes: Uint8Array): number {
  return bytes.length < REFERENCED_FROM_BYTES ? bytes.length : 0;
}

class PartWriter {
  #scratch: Buffer;
  #from = 0;
  #at = 0;

  constructor(
    private readonly sink: ByteSink,
    private readonly scratchBytes: number,
  ) {
    this.#scratch = Buffer.allocUnsafe(scratchBytes);
  }

  /** Zigzag, seven bits a byte, least first. */
  varint(value: number): void {
    this.#makeRoom(5);
    const scratch = this.#scratch;
    let rest = ((value << 1) ^ (value >> 31)) >>> 0;
    for (; rest > 0x7f; rest >>>= 7) scratch[this.#at++] = (rest & 0x7f) | 0x80;
    scratch[this.#at++] = rest;
  }

  zero(): void {
    this.#makeRoom(1);
    this.#scratch[this.#at++] = 0;
  }

  /** The length before them. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length);
    if (bytes.length >= REFERENCED_FROM_BYTES) {
      this.flush();
      this.sink.write(asBuffer(bytes));
      return;
    }
    this.#makeRoom(bytes.length);
    this.#scratch.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  flush(): void {
    if (this.#at > this.#from) this.sink.write(this.#scratch.subarray(this.#from, this.#at));
    this.#from = this.#at;
  }

  #makeRoom(bytes: number): void {
    if (this.#at + bytes <= this.#scratch.length) return;
    this.flush();
    this.#scratch = Buffer.allocUnsafe(Math.max(bytes, this.scratchBytes));
    this.#from = 0;
    this.#at = 0;
  }
}

function writeRecord(writer: PartWriter, { key, value, headers }: LogEntry, index: number): void {
  const names = Object.keys(headers);
  const nameBytes = names.map((name) => Buffer.from(name));
  let bytes = 2 + varintBytes(index) + prefixedBytes(value) + varintBytes(names.length);
  bytes += key ? prefixedBytes(key) : varintBytes(-1);
  for (const [at, name] of names.entries()) bytes += prefixedBytes(nameBytes[at]!) + prefixedBytes(headers[name]!);
  writer.varint(bytes);
  // Attributes, of which there are none, and the time, which is the batch's.
  writer.zero();
  writer.zero();
  writer.varint(index);
  if (key) writer.bytes(key);
  else writer.varint(-1);
  writer.bytes(value);
  writer.varint(names.length);
  for (const [at, name] of names.entries()) {
    writer.bytes(nameBytes[at]!);
    writer.bytes(headers[name]!);
  }
}

function prefixedBytes(bytes: Uint8Array): number {
  return varintBytes(bytes.length) + bytes.length;
}

function varintBytes(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  return zigzag < 0x80 ? 1 : Math.ceil((32 - Math.clz32(zigzag)) / 7);
}
