import { cursor, encodeBytesField, readTag, skipValue } from '../wire.js';

/** The same messages in other bytes. */

type Shape = { readonly [fieldNumber: number]: Shape };

const VALUE: { [fieldNumber: number]: Shape } = {};
const KEY_VALUE: Shape = { 2: VALUE };
VALUE[5] = { 1: VALUE };
VALUE[6] = { 1: KEY_VALUE };
const SPAN: Shape = { 9: KEY_VALUE, 11: { 3: KEY_VALUE }, 13: { 4: KEY_VALUE }, 15: {} };
const TRACES_DATA: Shape = { 1: { 1: { 1: KEY_VALUE, 3: {} }, 2: { 1: { 3: KEY_VALUE }, 2: SPAN } } };

/** Uniform in [0, 1), from a seed. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) / 4_294_967_296;
  };
}

/** The same message with the fields of every message in random order (repeated ones keep theirs) and unknown fields between them. */
export function mangled(tracesData: Buffer, seed: number): Buffer {
  return mangle(tracesData, TRACES_DATA, randomOf(seed));
}

function mangle(message: Buffer, shape: Shape, random: () => number): Buffer {
  const queues = new Map<number, Buffer[]>();
  let count = 0;
  const add = (fieldNumber: number, field: Buffer): void => {
    queues.set(fieldNumber, [...(queues.get(fieldNumber) ?? []), field]);
    count++;
  };
  for (let p = 0; p < message.length; ) {
    const from = p;
    const tag = readTag(message, p, message.length);
    p = skipValue(message, tag, cursor.at, message.length);
    const inner = shape[tag >>> 3];
    const field =
      inner && (tag & 7) === 2
        ? encodeBytesField(tag >>> 3, mangle(message.subarray(cursor.at, p), inner, random))
        : message.subarray(from, p);
    add(tag >>> 3, field);
  }
  if (random() < 0.3) add(1000, Buffer.concat([Buffer.from([0xc0, 0x3e]), Buffer.from([0x96, 0x01])]));
  if (random() < 0.3) add(2000, encodeBytesField(2000, Buffer.from('of a newer version')));
  if (random() < 0.1) add(2001, Buffer.from([0x8d, 0x7d, 1, 2, 3, 4]));
  if (random() < 0.1) add(2002, Buffer.from([0x91, 0x7d, 1, 2, 3, 4, 5, 6, 7, 8]));
  const fields: Buffer[] = [];
  while (count-- > 0) {
    const numbers = [...queues.keys()];
    const chosen = numbers[Math.floor(random() * numbers.length)]!;
    const queue = queues.get(chosen)!;
    fields.push(queue.shift()!);
    if (queue.length === 0) queues.delete(chosen);
  }
  return Buffer.concat(fields);
}

/**
 * A buffer that counts how often its bytes are read one by one (native searches and copies do not count): reads stand for
 * steps where a test shows that cost is linear.
 */
export function countingBuffer(bytes: Buffer): { buffer: Buffer; reads: () => number } {
  let reads = 0;
  const buffer: Buffer = new Proxy(bytes, {
    get(target, property) {
      if (typeof property === 'string' && property.charCodeAt(0) <= 0x39) {
        const index = Number(property);
        if (index < 0 || index >= target.length) throw new RangeError(`read of byte ${property} of ${target.length}`);
        reads++;
        return target[index];
      }
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function' || property === 'constructor') return value;
      return (...given: unknown[]): unknown =>
        Reflect.apply(
          value,
          target,
          given.map((arg) => (arg === buffer ? bytes : arg)),
        );
    },
  });
  return { buffer, reads: () => reads };
}
