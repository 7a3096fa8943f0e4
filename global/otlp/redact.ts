import { createHmac } from 'node:crypto';
import { LIMITS } from '../model/limits.js';
import { attributeValueText, ValueTag } from './attributes.js';
import type { KeyLookup } from './check-message.js';
import { type PatternName, redactText, Suspects } from './redact-text.js';
import { Tag } from './scan.js';
import { cursor, encodeBytesField, readTag, skipValue, varintSize, writeVarint } from './wire.js';

/** Dropped unless the configuration says otherwise (In4). */
export const DROP_KEYS_DEFAULT: readonly string[] = ['user.password', 'user.token'];
/** Masked unless the configuration says otherwise (In4). */
export const MASK_KEYS_DEFAULT: readonly string[] = ['user.id'];

export interface RedactorOptions {
  /**
   * Attributes with these keys go, wherever they stand; in a nested key-value list an entry goes whose own key is named, or whose keys from the
   * attribute's on, joined by dots, are.
   */
  readonly dropKeys: readonly string[];
  readonly patterns: readonly PatternName[];
  /** The values of these become `hmac:` and 32 hex characters: the same value gives the same mask, so it stays joinable. */
  readonly maskKeys: readonly string[];
  /** Key of the HMAC; at least 16 bytes. Everybody who shall get the same masks needs the same. */
  readonly maskSecret: Buffer;
  /**
   * Further patterns, replaced by `[redacted:pattern]` in every string. They run on each string of each span, which costs far more than all
   * the rest, and have to be linear themselves.
   */
  readonly extraPatterns?: readonly RegExp[];
}

/**
 * Redaction on bytes (In4). The methods take messages of a batch that has been checked (depth, wire format) and give back new content in its own
 * memory, or null where nothing has to change. All strings are covered but trace states: names, status messages, keys and values at any depth,
 * scope names, schema urls. Byte values are not text and stay. Not re-entrant.
 */
export interface Redactor {
  /** The keys that a check looks for, so that clean spans need no second look. */
  readonly keys: KeyLookup;
  /** Looks over a whole batch once. The answer is good until the next call. */
  inspect(batch: Buffer): { any(from: number, to: number): boolean };
  /** The content of a Span. */
  redactSpan(buffer: Buffer, start: number, end: number): Buffer | null;
  /** The fields of a ResourceSpans beside its scope_spans. */
  redactResourceHeader(header: Buffer): Buffer | null;
  /** The fields of a ScopeSpans beside its spans. */
  redactScopeHeader(header: Buffer): Buffer | null;
}

type Role = 'text' | 'attribute' | 'value' | MessageShape;
type MessageShape = ReadonlyMap<number, Role>;

const STATUS: MessageShape = new Map<number, Role>([[0x12, 'text']]);
const EVENT: MessageShape = new Map<number, Role>([
  [0x12, 'text'],
  [0x1a, 'attribute'],
]);
const LINK: MessageShape = new Map<number, Role>([[0x22, 'attribute']]);
const SPAN: MessageShape = new Map<number, Role>([
  [Tag.name, 'text'],
  [Tag.attribute, 'attribute'],
  [Tag.event, EVENT],
  [Tag.link, LINK],
  [Tag.status, STATUS],
]);
const RESOURCE: MessageShape = new Map<number, Role>([[0x0a, 'attribute']]);
const SCOPE: MessageShape = new Map<number, Role>([
  [0x0a, 'text'],
  [0x12, 'text'],
  [0x1a, 'attribute'],
]);
const RESOURCE_HEADER: MessageShape = new Map<number, Role>([
  [Tag.resource, RESOURCE],
  [Tag.schemaUrl, 'text'],
]);
const SCOPE_HEADER: MessageShape = new Map<number, Role>([
  [Tag.scope, SCOPE],
  [Tag.schemaUrl, 'text'],
]);
const KEY_VALUE: MessageShape = new Map<number, Role>([
  [0x0a, 'text'],
  [0x12, 'value'],
]);
const ARRAY: MessageShape = new Map<number, Role>([[0x0a, 'value']]);
const LIST: MessageShape = new Map<number, Role>([[0x0a, 'attribute']]);
const VALUE: MessageShape = new Map<number, Role>([
  [ValueTag.string, 'text'],
  [ValueTag.array, ARRAY],
  [ValueTag.kvlist, LIST],
]);

const DROPPED = Buffer.alloc(0);
const MASKED = /^hmac:[0-9a-f]{32}$/;
const MASK_CACHE_MAX = 4096;

/** Makes a redactor. Throws a RangeError for a secret below 16 bytes where there are keys to mask. */
export function createRedactor(options: RedactorOptions): Redactor {
  return new ByteRedactor(options);
}

class ByteRedactor implements Redactor {
  readonly keys: KeyLookup;
  readonly #drop: ReadonlySet<string>;
  readonly #mask: ReadonlySet<string>;
  readonly #patterns: ReadonlySet<PatternName>;
  readonly #extra: readonly RegExp[];
  readonly #secret: Buffer;
  readonly #suspects = new Suspects();
  #masks = new Map<string, string>();

  constructor(options: RedactorOptions) {
    if (options.maskKeys.length > 0 && options.maskSecret.length < 16) {
      throw new RangeError(`the secret for masking has ${options.maskSecret.length} bytes, at least 16 are needed`);
    }
    this.#drop = new Set(options.dropKeys.map(toLatin1));
    this.#mask = new Set(options.maskKeys.map(toLatin1));
    this.#patterns = new Set(options.patterns);
    this.#extra = (options.extraPatterns ?? []).map((p) => new RegExp(p.source, [...new Set(`${p.flags}g`)].join('')));
    this.#secret = Buffer.from(options.maskSecret);
    this.keys = keyLookup([...options.dropKeys, ...options.maskKeys]);
  }

  inspect(batch: Buffer): { any(from: number, to: number): boolean } {
    if (this.#extra.length > 0) return ALL_SUSPECT;
    this.#suspects.inspect(batch, this.#patterns);
    return this.#suspects;
  }

  redactSpan(buffer: Buffer, start: number, end: number): Buffer | null {
    return this.#message(buffer, start, end, SPAN, '');
  }

  redactResourceHeader(header: Buffer): Buffer | null {
    return this.#message(header, 0, header.length, RESOURCE_HEADER, '');
  }

  redactScopeHeader(header: Buffer): Buffer | null {
    return this.#message(header, 0, header.length, SCOPE_HEADER, '');
  }

  /** Rewrites the fields that the shape names; `path` is the dotted key of the list around them. */
  #message(b: Buffer, start: number, end: number, shape: MessageShape, path: string): Buffer | null {
    let parts: Buffer[] | null = null;
    let kept = start;
    for (let p = start; p < end; ) {
      const fieldAt = p;
      const tag = readTag(b, p, end);
      p = skipValue(b, tag, cursor.at, end);
      const role = (tag & 7) === 2 ? shape.get(tag) : undefined;
      if (role === undefined) continue;
      const rewritten = this.#field(b, cursor.at, p, role, path);
      if (rewritten === null) continue;
      parts ??= [];
      if (fieldAt > kept) parts.push(b.subarray(kept, fieldAt));
      if (rewritten !== DROPPED) {
        const head = Buffer.allocUnsafe(varintSize(tag) + varintSize(rewritten.length));
        writeVarint(head, writeVarint(head, 0, tag), rewritten.length);
        parts.push(head, rewritten);
      }
      kept = p;
    }
    if (parts === null) return null;
    parts.push(b.subarray(kept, end));
    return Buffer.concat(parts);
  }

  #field(b: Buffer, start: number, end: number, role: Role, path: string): Buffer | null {
    if (role === 'text') return this.#text(b, start, end);
    if (role === 'attribute') return this.#attribute(b, start, end, path);
    return this.#message(b, start, end, role === 'value' ? VALUE : role, path);
  }

  #text(b: Buffer, start: number, end: number): Buffer | null {
    if (start === end) return null;
    const before = b.toString('latin1', start, end);
    const after = redactText(before, this.#patterns);
    const bytes = after === before ? null : Buffer.from(after, 'latin1');
    if (this.#extra.length === 0) return bytes;
    const text = bytes === null ? b.toString('utf8', start, end) : bytes.toString('utf8');
    let replaced = text;
    for (const pattern of this.#extra) replaced = replaced.replace(pattern, '[redacted:pattern]');
    return replaced === text ? bytes : Buffer.from(replaced);
  }

  /** DROPPED where the attribute has to go. A key or a value that stands there twice is looked at each time. */
  #attribute(b: Buffer, start: number, end: number, path: string): Buffer | null {
    let own = path;
    let masked: string | null = null;
    for (let p = start; p < end; ) {
      const tag = readTag(b, p, end);
      p = skipValue(b, tag, cursor.at, end);
      if (tag !== 0x0a) continue;
      const key = b.toString('latin1', cursor.at, p);
      own = path === '' ? key : `${path}.${key}`;
      if (this.#drop.has(key) || this.#drop.has(own)) return DROPPED;
      if (this.#mask.has(key) || this.#mask.has(own)) masked = key;
    }
    if (masked === null) return this.#message(b, start, end, KEY_VALUE, own);
    return this.#maskAttribute(b, start, end, Buffer.from(masked, 'latin1'));
  }

  #maskAttribute(b: Buffer, start: number, end: number, key: Buffer): Buffer | null {
    let from = -1;
    let to = -1;
    let fields = 0;
    for (let p = start; p < end; fields++) {
      const tag = readTag(b, p, end);
      p = skipValue(b, tag, cursor.at, end);
      if (tag !== 0x12) continue;
      from = cursor.at;
      to = p;
    }
    if (from === to) return null;
    const text = attributeValueText(b, from, to);
    // Masked already, by whoever sent it on: a mask of a mask would not join. Only in the plain layout, where nothing else can hide.
    if (text !== null && MASKED.test(text) && fields === 2 && to - from === 2 + text.length) return null;
    const mask = Buffer.from(this.#maskOf(text ?? b.toString('latin1', from, to)));
    return Buffer.concat([encodeBytesField(1, key), encodeBytesField(2, encodeBytesField(1, mask))]);
  }

  /** Cached: the same users come again and again. The cache is emptied when it is full. */
  #maskOf(text: string): string {
    const known = this.#masks.get(text);
    if (known !== undefined) return known;
    const mask = `hmac:${createHmac('sha256', this.#secret).update(text).digest('hex').slice(0, 32)}`;
    if (this.#masks.size >= MASK_CACHE_MAX) this.#masks = new Map();
    this.#masks.set(text, mask);
    return mask;
  }
}

const ALL_SUSPECT = { any: (from: number, to: number): boolean => to > from };

function toLatin1(key: string): string {
  return Buffer.from(key).toString('latin1');
}

function keyLookup(keys: readonly string[]): KeyLookup {
  const byLength = new Uint8Array(LIMITS.attributeKeyBytesMax + 1);
  const wanted = keys.map((key) => Buffer.from(key)).filter((key) => key.length <= LIMITS.attributeKeyBytesMax);
  for (const key of wanted) byLength[key.length] = 1;
  return {
    byLength,
    matches(buffer, keyStart, keyEnd) {
      const length = keyEnd - keyStart;
      for (const key of wanted) {
        if (key.length !== length) continue;
        let i = 0;
        while (i < length && buffer[keyStart + i] === key[i]) i++;
        if (i === length) return true;
      }
      return false;
    },
  };
}
