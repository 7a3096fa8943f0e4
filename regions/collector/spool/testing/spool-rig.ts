import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { TOPICS } from '../../../../global/log/topics.js';
import { readSpanViews } from '../../../../global/otlp/span-view.js';
import { encodeTracesData } from '../../../../global/otlp/testing/test-spans.js';
import { ManualClock } from '../../../../global/runtime/clock.js';
import { MeridianError } from '../../../../global/runtime/errors.js';
import { silentLogger } from '../../../../global/runtime/logger.js';
import { MemoryAppender } from '../../testing/memory-appender.js';
import { NOTABLE, ROUTINE, type SpoolClass, VITAL } from '../spool-class.js';
import { noSpoolCrash } from '../spool-crash-points.js';
import { realSpoolFiles, type SpoolFiles } from '../spool-disk.js';
import { SPOOL_LIMITS, type SpoolLimits } from '../spool-limits.js';
import { SpoolingAppender } from '../spooling-appender.js';

export const AWAY = new MeridianError('unavailable', 'the brokers are away', 'later');

/** A record with one span of that class, named by the text; its name makes its size. */
export function spanRecord(name: string, spoolClass: SpoolClass = VITAL): Buffer {
  const fields = {
    [ROUTINE]: { parentSpanId: '00f067aa0ba902b7' },
    [NOTABLE]: { parentSpanId: '00f067aa0ba902b7', kind: 3 },
    [VITAL]: {},
  }[spoolClass];
  // A trace of its own for each name and class.
  const traceId = Buffer.from(`${spoolClass}${name}`.padEnd(16, '.').slice(0, 16)).toString('hex');
  return encodeTracesData([
    { resource: { 'service.name': 'shop' }, spans: [{ traceId, spanId: 'b7ad6b7169203331', name, ...fields }] },
  ]);
}

/** Bytes that LZ4 cannot make shorter, as text. */
export function randomText(length: number, seed: number): string {
  let state = seed;
  let text = '';
  while (text.length < length) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    text += state.toString(36);
  }
  return text.slice(0, length);
}

export const namesOf = (value: Uint8Array) => readSpanViews(Buffer.from(value)).map((span) => span.name);

/** One process after the other over the same folder and the same log. */
export class SpoolRig {
  readonly folder = mkdtempSync(join(tmpdir(), 'meridian-spool-'));
  readonly clock = new ManualClock();
  readonly log = new MemoryAppender();
  registry = new Registry();
  #running: SpoolingAppender | null = null;

  async start(limits: Partial<SpoolLimits> = {}, files: SpoolFiles = realSpoolFiles): Promise<SpoolingAppender> {
    this.registry = new Registry();
    const appender = new SpoolingAppender({
      log: this.log,
      folder: this.folder,
      limits: { ...SPOOL_LIMITS, ...limits },
      clock: this.clock,
      logger: silentLogger,
      registry: this.registry,
      reach: noSpoolCrash,
      files,
    });
    await appender.open();
    this.#running = appender;
    return appender;
  }

  append(partition: number, name: string, spoolClass: SpoolClass = VITAL) {
    const entry = {
      key: null,
      value: spanRecord(name, spoolClass),
      headers: { meridian: Buffer.from(name.slice(0, 30)) },
    };
    return this.#running!.append(TOPICS.spans, partition, [entry]);
  }

  /** Names of the spans in the log, by partition, in order. */
  found(partition: number): string[] {
    return this.log.appended
      .filter((append) => append.partition === partition)
      .flatMap((append) => append.entries.flatMap((entry) => namesOf(entry.value)));
  }

  report() {
    return this.#running!.report();
  }

  spoolFiles(): string[] {
    return readdirSync(this.folder).filter((name) => name.endsWith('.spool'));
  }

  spoolFileBytes(): number {
    return this.spoolFiles().reduce((sum, name) => sum + statSync(join(this.folder, name)).size, 0);
  }

  async metric(name: string): Promise<number> {
    const text = await this.registry.metrics();
    const line = text.split('\n').find((candidate) => candidate.startsWith(`meridian_collector_spool_${name} `));
    return Number(line?.split(' ')[1]);
  }

  /** Lets what needs no clock happen until the condition holds. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  }

  /** The same, moving the clock: for retries. */
  async untilLater(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await this.clock.advance(50);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  drained(): Promise<void> {
    return this.untilLater(() => this.report().awaySinceMs === null && this.report().spool.records === 0);
  }

  async stop(): Promise<void> {
    await this.#running?.close(0);
    this.#running = null;
  }

  async dispose(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true });
  }
}
