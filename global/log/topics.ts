import type { TopicSpec } from './span-log.js';

export const TOPICS = {
  spans: 'spans',
  segments: 'segments',
  traceMetadata: 'trace-metadata',
  spansDlq: 'spans.dlq',
  segmentsDlq: 'segments.dlq',
  traceMetadataDlq: 'trace-metadata.dlq',
} as const;

/** Topics that other regions take from a region. `segments` and `spans` join them when there are standbys. */
export const MIRRORED_TOPICS = [TOPICS.traceMetadata] as const;

/** Consumer groups of a region. `meridian replay` names them. */
export const GROUPS = { assembler: 'assembler', writer: 'writer', applier: 'index' } as const;

export interface PartitionCounts {
  readonly spans: number;
  readonly segments: number;
  readonly traceMetadata: number;
}

const HOUR_MS = 3_600_000;

/** The topics that a region owns, with their partitions and retention (Lo1). */
export function regionTopics(partitions: PartitionCounts, retentionMs: { spans: number; views: number }): TopicSpec[] {
  const dlqRetentionMs = 14 * 24 * HOUR_MS;
  return [
    { name: TOPICS.spans, partitions: partitions.spans, retentionMs: retentionMs.spans, compacted: false },
    { name: TOPICS.segments, partitions: partitions.segments, retentionMs: retentionMs.views, compacted: false },
    {
      name: TOPICS.traceMetadata,
      partitions: partitions.traceMetadata,
      retentionMs: retentionMs.views,
      compacted: false,
    },
    { name: TOPICS.spansDlq, partitions: 1, retentionMs: dlqRetentionMs, compacted: false },
    { name: TOPICS.segmentsDlq, partitions: 1, retentionMs: dlqRetentionMs, compacted: false },
    { name: TOPICS.traceMetadataDlq, partitions: 1, retentionMs: dlqRetentionMs, compacted: false },
  ];
}
