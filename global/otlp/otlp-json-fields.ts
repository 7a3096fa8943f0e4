import { type JsonObject, SpanRejection } from './conversion.js';

/**
 * Scalars of protobuf's JSON form (protobuf.dev/programming-guides/json), read with its tolerance. What is absent or null has its default;
 * what has the wrong type is a SpanRejection `malformed`, what is out of range `invalid`.
 */

/** The field by its JSON name or its proto name; undefined where it is absent or null. */
export function jsonField(from: JsonObject, camel: string, snake: string): unknown {
  const value = from[camel];
  if (value !== undefined) return value ?? undefined;
  return camel === snake ? undefined : (from[snake] ?? undefined);
}

export function arrayOf(from: JsonObject, camel: string, snake: string): readonly unknown[] {
  const value = jsonField(from, camel, snake);
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw new SpanRejection('malformed', `${camel} is no array`);
}

export function stringOf(value: unknown, name: string): string {
  if (typeof value === 'string') return value;
  throw new SpanRejection('malformed', `${name} is no string`);
}

const HEX = /^(?:[0-9a-fA-F]{2})*$/;
const HEX_CHARACTERS_MAX = 128;

/** The bytes of an id; empty where it is absent. */
export function hexOf(value: unknown, name: string): Buffer {
  if (value === undefined) return Buffer.alloc(0);
  const text = stringOf(value, name);
  if (text.length > HEX_CHARACTERS_MAX || !HEX.test(text))
    throw new SpanRejection('malformed', `${name} is not hexadecimal`);
  return Buffer.from(text, 'hex');
}

const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** Either alphabet, with or without padding. */
export function base64Of(value: unknown, name: string): Buffer {
  const text = stringOf(value, name);
  if (!BASE64.test(text)) throw new SpanRejection('malformed', `${name} is not base64`);
  return Buffer.from(text, 'base64');
}

/** By number or name. Numbers that have no name are kept, as protobuf does. */
export function enumOf(value: unknown, names: ReadonlyMap<string, number>, name: string): number {
  if (value === undefined) return 0;
  if (typeof value === 'string') {
    const known = names.get(value);
    if (known !== undefined) return known;
  }
  const number = integerOf(value, name);
  if (number < -2_147_483_648n || number > 2_147_483_647n)
    throw new SpanRejection('invalid', `${name} is out of range`);
  return Number(number);
}

export function uint32Of(value: unknown, name: string): number {
  if (value === undefined) return 0;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return value;
  const number = integerOf(value, name);
  if (number < 0n || number > 0xffff_ffffn) throw new SpanRejection('invalid', `${name} is out of range`);
  return Number(number);
}

export function uint64Of(value: unknown, name: string): bigint {
  if (value === undefined) return 0n;
  const number = integerOf(value, name);
  if (number < 0n || number > 0xffff_ffff_ffff_ffffn) throw new SpanRejection('invalid', `${name} is out of range`);
  return number;
}

export function int64Of(value: unknown, name: string): bigint {
  const number = integerOf(value, name);
  if (BigInt.asIntN(64, number) !== number) throw new SpanRejection('invalid', `${name} is out of range`);
  return number;
}

export function doubleOf(value: unknown, name: string): number {
  if (typeof value === 'number') return value;
  const text = stringOf(value, name);
  if (text === 'NaN') return Number.NaN;
  if (text === 'Infinity') return Number.POSITIVE_INFINITY;
  if (text === '-Infinity') return Number.NEGATIVE_INFINITY;
  if (text.length <= NUMBER_CHARACTERS_MAX && JSON_NUMBER.test(text)) return Number(text);
  throw new SpanRejection('malformed', `${name} is no number`);
}

const NUMBER_CHARACTERS_MAX = 400;
const JSON_NUMBER = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
/** Longer texts are out of range of 64 bits, and would make BigInt slow. */
const INTEGER = /^-?[0-9]{1,24}$/;

/** An integer as a number or as a decimal string, of at most 64 bits and some. */
function integerOf(value: unknown, name: string): bigint {
  if (typeof value === 'string' && INTEGER.test(value)) return BigInt(value);
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value);
  // Protobuf takes 1e5 and 1.0 for integers also in quotes.
  if (typeof value === 'string' && value.length <= NUMBER_CHARACTERS_MAX && JSON_NUMBER.test(value)) {
    const number = Number(value);
    if (Number.isSafeInteger(number)) return BigInt(number);
  }
  throw new SpanRejection('malformed', `${name} is no integer`);
}

/** Outside of quotes, as far as that can be told by one look; timestamps in quotes are in every request. */
const LONG_INTEGER = /[:,[\s]-?[0-9]{16}/;

/**
 * JSON text in which integers of 16 and more digits are put in quotes: protobuf's JSON reads both alike, while JSON.parse would round
 * them to 53 bits. Texts without any, the usual case, are only searched.
 */
export function quoteLongIntegers(text: string): string {
  if (!LONG_INTEGER.test(text)) return text;
  let result = '';
  let copied = 0;
  let at = 0;
  while (at < text.length) {
    const unit = text.charCodeAt(at);
    if (unit === 0x22) {
      at = afterString(text, at + 1);
    } else if (unit === 0x2d || isDigit(unit)) {
      const start = at++;
      while (at < text.length && isDigit(text.charCodeAt(at))) at++;
      const next = text.charCodeAt(at);
      const whole = next !== 0x2e && next !== 0x65 && next !== 0x45;
      if (whole && at - start >= 16) {
        result += `${text.slice(copied, start)}"${text.slice(start, at)}"`;
        copied = at;
      }
      // Past a fraction and an exponent, whose digits are no integers of their own.
      while (at < text.length && isNumberPart(text.charCodeAt(at))) at++;
    } else {
      at++;
    }
  }
  return copied === 0 ? text : result + text.slice(copied);
}

function afterString(text: string, from: number): number {
  let at = from;
  while (at < text.length) {
    const unit = text.charCodeAt(at);
    if (unit === 0x22) return at + 1;
    at += unit === 0x5c ? 2 : 1;
  }
  return at;
}

function isDigit(unit: number): boolean {
  return unit >= 0x30 && unit <= 0x39;
}

function isNumberPart(unit: number): boolean {
  return isDigit(unit) || unit === 0x2e || unit === 0x65 || unit === 0x45 || unit === 0x2b || unit === 0x2d;
}
