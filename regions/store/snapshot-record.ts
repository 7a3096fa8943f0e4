import { z } from 'zod';
import { MeridianError } from '../../global/runtime/errors.js';

export const SNAPSHOT_KINDS = ['hourly', 'daily', 'manual'] as const;
export type SnapshotKind = (typeof SNAPSHOT_KINDS)[number];

/** Where a view stood in a topic when a snapshot began: everything before is in the snapshot. */
export interface SnapshotPosition {
  readonly group: string;
  readonly topic: string;
  /** Per partition, the next offset. */
  readonly offsets: readonly number[];
}

/** What is kept with a snapshot, as JSON, version 1. */
export interface SnapshotRecord {
  /** `{kind}-{UTC time}`, e.g. `hourly-20260131t070000z`; sorts by time within a kind. */
  readonly name: string;
  readonly kind: SnapshotKind;
  /** When it began, Unix ms. */
  readonly takenMs: number;
  readonly positions: readonly SnapshotPosition[];
}

/** Keeps snapshots of one store; the store's own kind of copy. Rejects with `unavailable` (retry later) or `configuration`. */
export interface SnapshotEngine {
  /** Copies everything that the store holds at some moment of the call, consistently and durably, with the record beside it. */
  create(record: SnapshotRecord): Promise<void>;
  /** Records of complete snapshots, in no order. */
  list(): Promise<readonly SnapshotRecord[]>;
  remove(name: string): Promise<void>;
  /** Puts the store into the state of the snapshot. Nobody writes meanwhile; reads may find anything. Doing it again after it was interrupted is safe. */
  restore(name: string): Promise<void>;
}

const VERSION = 1;
const NAME = /^(hourly|daily|manual)-\d{8}t\d{6}z$/;
const RECORD = z.object({
  name: z.string().regex(NAME),
  kind: z.enum(SNAPSHOT_KINDS),
  takenMs: z.number().int().nonnegative(),
  positions: z.array(
    z.object({
      group: z.string().max(255),
      topic: z.string().max(255),
      offsets: z.array(z.number().int().nonnegative()).max(4096),
    }),
  ),
});

export function snapshotName(kind: SnapshotKind, takenMs: number): string {
  const text = new Date(takenMs).toISOString();
  return `${kind}-${text.slice(0, 19).replace(/[-:]/g, '').toLowerCase()}z`;
}

export function isSnapshotName(text: string): boolean {
  return NAME.test(text);
}

export function encodeSnapshotRecord(record: SnapshotRecord): string {
  return JSON.stringify({ version: VERSION, ...record });
}

/** Throws `malformed` or `unknown-version`, naming `what`. */
export function parseSnapshotRecord(text: string, what: string): SnapshotRecord {
  const value = jsonOf(text, what);
  const { data: head } = z.object({ version: z.number() }).safeParse(value);
  if (head && head.version !== VERSION) {
    throw new MeridianError(
      'unknown-version',
      `${what}: version ${head.version}, this build knows ${VERSION}`,
      'never',
    );
  }
  const { data, error } = RECORD.safeParse(value);
  if (head && data) return data;
  throw new MeridianError('malformed', `${what}: ${error?.issues[0]?.message ?? 'no version'}`, 'never');
}

function jsonOf(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new MeridianError('malformed', `${what}: is no JSON`, 'never', { cause: error });
  }
}

/** How many are kept of each kind; manual ones stay until somebody removes them. */
export interface SnapshotRetention {
  readonly hourlyKept: number;
  readonly dailyKept: number;
}

/** Which snapshots go. Never the newest of all. Pure. */
export function snapshotsToRemove(
  records: readonly SnapshotRecord[],
  { hourlyKept, dailyKept }: SnapshotRetention,
): SnapshotRecord[] {
  const newestFirst = [...records].sort((a, b) => b.takenMs - a.takenMs);
  const beyond = (kind: SnapshotKind, kept: number) => newestFirst.filter((record) => record.kind === kind).slice(kept);
  return [...beyond('hourly', hourlyKept), ...beyond('daily', dailyKept)].filter((record) => record !== newestFirst[0]);
}

/** The snapshot from which a time is restored: the newest that began at or before it; null where there is none. Pure. */
export function snapshotFor(records: readonly SnapshotRecord[], toMs: number): SnapshotRecord | null {
  return records.reduce<SnapshotRecord | null>(
    (best, record) => (record.takenMs <= toMs && (!best || record.takenMs > best.takenMs) ? record : best),
    null,
  );
}
