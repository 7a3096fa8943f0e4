import { createRequire } from 'node:module';
import { tracePartition } from '../../global/log/partition.js';
import { LIMITS } from '../../global/model/limits.js';
import { type PrepareOptions, prepareBatch } from '../../global/otlp/prepare.js';
import { createRedactor, DROP_KEYS_DEFAULT, MASK_KEYS_DEFAULT } from '../../global/otlp/redact.js';
import { PATTERN_NAMES } from '../../global/otlp/redact-text.js';
import { splitByTrace } from '../../global/otlp/split.js';
import { type BenchResult, formatFigure, runRounds } from './bench-result.js';
import { makeBatch } from './sample-spans.js';

const SPANS = 512;
const BATCHES = 32;
const PARTITION_COUNT = 16;

/**
 * What one core does with OTLP batches of 512 spans of 430 B (11 attributes, 10 spans a trace, one resource): everything that the collector does
 * to the bytes of a request, beside what protobufjs needs to decode and encode them once, in the same run.
 */
export async function benchOtlpScan(): Promise<BenchResult> {
  const batches = Array.from({ length: BATCHES }, (_, seed) => makeBatch({ spans: SPANS, seed }));
  const bytes = batches.reduce((sum, batch) => sum + batch.length, 0);
  const options: PrepareOptions = {
    partitionCount: PARTITION_COUNT,
    partitionOf: (id, at) => tracePartition(id, at, PARTITION_COUNT),
    redactor: createRedactor({
      dropKeys: DROP_KEYS_DEFAULT,
      patterns: PATTERN_NAMES,
      maskKeys: MASK_KEYS_DEFAULT,
      maskSecret: Buffer.alloc(32, 7),
    }),
    spanCountMax: LIMITS.spansPerRequestMax,
    nowMs: Date.now(),
  };
  const codec = officialCodec();
  const rounds = { rounds: 9, warmups: 3 };
  const prepare = await runRounds(rounds, () => perSecond(batches, 8, (batch) => prepareBatch(batch, options)));
  const reference = await runRounds({ rounds: 5, warmups: 1 }, () =>
    perSecond(batches, 1, (batch) => codec.encode(codec.decode(batch)).finish()),
  );
  const split = await runRounds(rounds, () => perSecond(batches, 8, (batch) => splitByTrace(batch)));
  const ratio = formatFigure(prepare.median / reference.median);
  const perSpan = Math.round(bytes / SPANS / BATCHES);
  return {
    name: 'otlp-scan',
    requirements: ['In3', 'In4', 'Lo2'],
    rows: [
      {
        what: `scan + check + redact + split by partition, one core, ${SPANS}-span batches of ${perSpan} B a span`,
        asked: { relation: 'at least', value: 1_000_000 },
        unit: 'spans/s',
        measured: prepare,
        comparedWith: `${ratio}x protobufjs decode + encode of the same batches`,
      },
      {
        what: 'protobufjs decode + encode, the same batches, one core',
        asked: null,
        unit: 'spans/s',
        measured: reference,
      },
      {
        what: 'split by trace (10 spans each), the same batches, one core',
        asked: null,
        unit: 'spans/s',
        measured: split,
      },
    ],
  };
}

function perSecond(batches: readonly Buffer[], times: number, work: (batch: Buffer) => unknown): number {
  const started = process.hrtime.bigint();
  for (let i = 0; i < times; i++) for (const batch of batches) work(batch);
  return (times * batches.length * SPANS * 1e9) / Number(process.hrtime.bigint() - started);
}

interface TracesDataCodec {
  decode(bytes: Uint8Array): object;
  encode(message: object): { finish(): Uint8Array };
}

/** Static code that the official .proto files were compiled to. */
function officialCodec(): TracesDataCodec {
  const root: { opentelemetry: { proto: { trace: { v1: { TracesData: TracesDataCodec } } } } } = createRequire(
    import.meta.url,
  )('otlp-generated/build/src/generated/root.js');
  return root.opentelemetry.proto.trace.v1.TracesData;
}
