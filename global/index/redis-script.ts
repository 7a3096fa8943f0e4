import type { RedisCommand } from './redis-link.js';

/**
 * The one way in which anything is written: all of a change or nothing, and only onto the state that it was made from. Join, packing and digests
 * are computed by the caller from what it read; the script compares the shard's counter of writes and does the list of steps.
 *
 * Reply: the new counter; -1 where another write came in between (read again); -2 where it is not that generation any more.
 *
 * Steps: code, number of the key in KEYS, number of arguments, arguments:
 *   S  expiry, then fields and values      sets them; the key then expires no earlier than that (Unix seconds; 0: no expiry)
 *   X  expiry                              the key expires no earlier than that
 *   R  fields                              removes them
 *   U                                      removes the key
 *   P  expiry, then a value                sets the key to it; it then expires at that time
 *   M  fields and values                   sets those that are not there or sort before
 *   C  number of the totals' key, then     as M; what was not there is counted for its region
 *      fields, values and regions
 *   D  expiry, then name, count, low, high adds to digest sums; a digest whose count is 0 goes
 */
const WRITE = `
local now = redis.call('HMGET', KEYS[1], 'generation', 'writes')
if now[1] ~= ARGV[1] then return -2 end
if now[2] ~= ARGV[2] then return -1 end
local function expire(key, at)
  if at > 0 and redis.call('EXPIRETIME', key) < at then redis.call('EXPIREAT', key, at) end
end
local i = 3
while i <= #ARGV do
  local code, key, first, last = ARGV[i], KEYS[tonumber(ARGV[i + 1])], i + 3, i + 2 + tonumber(ARGV[i + 2])
  if code == 'S' then
    redis.call('HSET', key, unpack(ARGV, first + 1, last))
    expire(key, tonumber(ARGV[first]))
  elseif code == 'X' then
    expire(key, tonumber(ARGV[first]))
  elseif code == 'R' then
    redis.call('HDEL', key, unpack(ARGV, first, last))
  elseif code == 'U' then
    redis.call('UNLINK', key)
  elseif code == 'P' then
    redis.call('SET', key, ARGV[first + 1])
    redis.call('EXPIREAT', key, ARGV[first])
  elseif code == 'M' then
    for at = first, last, 2 do
      local old = redis.call('HGET', key, ARGV[at])
      if not old or old < ARGV[at + 1] then redis.call('HSET', key, ARGV[at], ARGV[at + 1]) end
    end
  elseif code == 'C' then
    for at = first + 1, last, 3 do
      local old = redis.call('HGET', key, ARGV[at])
      if not old then redis.call('HINCRBY', KEYS[tonumber(ARGV[first])], ARGV[at + 2], 1) end
      if not old or old < ARGV[at + 1] then redis.call('HSET', key, ARGV[at], ARGV[at + 1]) end
    end
  elseif code == 'D' then
    for at = first + 1, last, 4 do
      local c, l, h = ARGV[at] .. ':c', ARGV[at] .. ':l', ARGV[at] .. ':h'
      if redis.call('HINCRBY', key, c, ARGV[at + 1]) == 0 then
        redis.call('HDEL', key, c, l, h)
      else
        redis.call('HINCRBY', key, l, ARGV[at + 2])
        redis.call('HINCRBY', key, h, ARGV[at + 3])
      end
    end
    expire(key, tonumber(ARGV[first]))
  end
  i = last + 1
end
return redis.call('HINCRBY', KEYS[1], 'writes', 1)
`;

/** Fields and values in one step: Lua takes only so many arguments at a time. */
const STEP_ARGUMENTS_MAX = 1024;

type Argument = string | Buffer | number;

/** Steps of one write to one shard, in order. */
export class WriteSteps {
  readonly #keys: string[] = [];
  readonly #keyNumbers = new Map<string, number>();
  readonly #arguments: Argument[] = [];

  /** `expireAtS` 0: the key does not expire by this. */
  set(key: string, expireAtS: number, pairs: readonly Argument[]): void {
    this.#steps('S', key, [expireAtS], pairs, 2);
  }

  expireNoEarlier(key: string, expireAtS: number): void {
    this.#step('X', key, [expireAtS]);
  }

  remove(key: string, fields: readonly Argument[]): void {
    this.#steps('R', key, [], fields, 1);
  }

  unlink(key: string): void {
    this.#step('U', key, []);
  }

  put(key: string, expireAtS: number, value: Buffer): void {
    this.#step('P', key, [expireAtS, value]);
  }

  /** Values must compare as bytes: numbers padded to one length. */
  raise(key: string, pairs: readonly Argument[]): void {
    this.#steps('M', key, [], pairs, 2);
  }

  raiseCounted(key: string, totalsKey: string, triples: readonly Argument[]): void {
    this.#steps('C', key, [this.#keyNumber(totalsKey)], triples, 3);
  }

  addToDigests(key: string, expireAtS: number, quadruples: readonly Argument[]): void {
    this.#steps('D', key, [expireAtS], quadruples, 4);
  }

  get isEmpty(): boolean {
    return this.#arguments.length === 0;
  }

  #steps(code: string, key: string, head: readonly Argument[], rest: readonly Argument[], unit: number): void {
    const atOnce = STEP_ARGUMENTS_MAX - (STEP_ARGUMENTS_MAX % unit);
    for (let at = 0; at < rest.length; at += atOnce) this.#step(code, key, [...head, ...rest.slice(at, at + atOnce)]);
  }

  #step(code: string, key: string, args: readonly Argument[]): void {
    this.#arguments.push(code, this.#keyNumber(key), args.length, ...args);
  }

  #keyNumber(key: string): number {
    let number = this.#keyNumbers.get(key);
    if (number === undefined) {
      this.#keys.push(key);
      // KEYS[1] is the shard's state.
      number = this.#keys.length + 1;
      this.#keyNumbers.set(key, number);
    }
    return number;
  }

  command(meta: string, generation: string, writes: number): RedisCommand {
    return ['EVAL', WRITE, this.#keys.length + 1, meta, ...this.#keys, generation, writes, ...this.#arguments];
  }
}

/** What the script replied. */
export type WriteOutcome = { readonly writes: number } | 'conflict' | 'lost';

export function outcomeOf(reply: unknown): WriteOutcome {
  const number = Number(reply);
  return number === -1 ? 'conflict' : number === -2 ? 'lost' : { writes: number };
}
