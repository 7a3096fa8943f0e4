import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { PreparedBatch } from '../../global/otlp/prepare.js';
import type { RejectedSpan } from '../../global/otlp/verdict.js';
import type { MeridianError } from '../../global/runtime/errors.js';
import type { Admission } from './admission.js';
import type { ProtocolName } from './protocol.js';

const ACK_SECONDS = [0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const GATHER_BYTES = [1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6];
const GATHER_PIECES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** The collector's own figures (Ob1). Registering twice in one registry is an error of prom-client. */
export class CollectorMetrics {
  readonly #requests: Counter<'protocol' | 'code'>;
  readonly #accepted: Counter<'protocol'>;
  readonly #rejected: Counter<'protocol' | 'code'>;
  readonly #redacted: Counter;
  readonly #implausible: Counter;
  readonly #bytes: Counter<'protocol'>;
  readonly #ack: Histogram<'protocol'>;
  readonly #gatherBytes: Histogram;
  readonly #gatherPieces: Histogram;
  readonly #appendFailures: Counter<'code'>;

  constructor(registry: Registry, admission: Admission) {
    const registers = [registry];
    const name = (rest: string) => `meridian_collector_${rest}`;
    this.#requests = new Counter({
      name: name('requests_total'),
      help: 'Requests answered, by protocol and code (ok or the failure)',
      labelNames: ['protocol', 'code'],
      registers,
    });
    this.#accepted = new Counter({
      name: name('spans_accepted_total'),
      help: 'Spans acknowledged as durable',
      labelNames: ['protocol'],
      registers,
    });
    this.#rejected = new Counter({
      name: name('spans_rejected_total'),
      help: 'Spans refused by a rule, by protocol and code (unnamed: beyond what one answer names)',
      labelNames: ['protocol', 'code'],
      registers,
    });
    this.#redacted = new Counter({
      name: name('spans_redacted_total'),
      help: 'Spans in which something was dropped or masked before they were stored',
      registers,
    });
    this.#implausible = new Counter({
      name: name('spans_implausible_time_total'),
      help: 'Spans whose start lies far in the future or the past of their reception; kept',
      registers,
    });
    this.#bytes = new Counter({
      name: name('received_bytes_total'),
      help: 'Bytes of request bodies, inflated',
      labelNames: ['protocol'],
      registers,
    });
    this.#ack = new Histogram({
      name: name('ack_seconds'),
      help: 'From the head of a request to its acknowledgement',
      labelNames: ['protocol'],
      buckets: ACK_SECONDS,
      registers,
    });
    this.#gatherBytes = new Histogram({
      name: name('gather_bytes'),
      help: 'Bytes of a record appended to the log',
      buckets: GATHER_BYTES,
      registers,
    });
    this.#gatherPieces = new Histogram({
      name: name('gather_pieces'),
      help: 'Requests whose spans went into one record',
      buckets: GATHER_PIECES,
      registers,
    });
    this.#appendFailures = new Counter({
      name: name('append_failures_total'),
      help: 'Records that could not be appended to the log',
      labelNames: ['code'],
      registers,
    });
    new Gauge({
      name: name('in_flight_bytes'),
      help: 'Bytes of requests between reading and answer',
      registers,
      collect() {
        this.set(admission.inFlightBytes);
      },
    });
    new Gauge({
      name: name('in_flight_requests'),
      help: 'Requests between reading and answer',
      registers,
      collect() {
        this.set(admission.inFlightRequests);
      },
    });
  }

  /** A request was read and checked; nothing is durable yet. */
  checked(
    protocol: ProtocolName,
    bytes: number,
    batch: Pick<PreparedBatch, 'redactedCount' | 'implausibleTimeCount'>,
    rejectedNamed: readonly RejectedSpan[],
    rejectedCount: number,
  ): void {
    this.#bytes.inc({ protocol }, bytes);
    this.#redacted.inc(batch.redactedCount);
    this.#implausible.inc(batch.implausibleTimeCount);
    for (const { code } of rejectedNamed) this.#rejected.inc({ protocol, code });
    const unnamed = rejectedCount - rejectedNamed.length;
    if (unnamed > 0) this.#rejected.inc({ protocol, code: 'unnamed' }, unnamed);
  }

  acknowledged(protocol: ProtocolName, acceptedCount: number, tookMs: number): void {
    this.#requests.inc({ protocol, code: 'ok' });
    this.#accepted.inc({ protocol }, acceptedCount);
    this.#ack.observe({ protocol }, tookMs / 1000);
  }

  failed(protocol: ProtocolName | 'none', code: string): void {
    this.#requests.inc({ protocol, code });
  }

  appended(bytes: number, pieces: number): void {
    this.#gatherBytes.observe(bytes);
    this.#gatherPieces.observe(pieces);
  }

  appendFailed(error: MeridianError): void {
    this.#appendFailures.inc({ code: error.code });
  }
}
