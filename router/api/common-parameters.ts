import { NANOS_PER_MS, unixNanoToMs } from '../../global/model/time.js';
import type { ParameterSpec, ParameterValues } from './parameters.js';
import { invalid, parseChoice, parseDuration, parseFlag } from './units.js';

export const DEADLINE_MS_MIN = 10;
export const DEADLINE_MS_MAX = 60_000;

export const PARTIAL: ParameterSpec = {
  name: 'partial',
  description: 'What to do where a region is missing: answer with what there is and say so (warn), or 503 (refuse)',
  schema: { type: 'string', enum: ['warn', 'refuse'], default: 'warn' },
};

export const DEADLINE: ParameterSpec = {
  name: 'deadline',
  description: 'By when the answer has to come, e.g. 2s; from 10ms to 60s',
  schema: { type: 'string', default: '5s', examples: ['2s', '250ms'] },
};

export const EXPLAIN: ParameterSpec = {
  name: 'explain',
  description:
    'Adds the plan (which regions were asked, which were skipped and on what proof) and the time of each step',
  schema: { type: 'string', enum: ['0', '1', 'true', 'false'], default: '0' },
};

export interface CommonParameters {
  readonly partial: 'warn' | 'refuse';
  readonly deadlineMs: number;
  readonly explain: boolean;
}

export function readCommon(values: ParameterValues, deadlineMsDefault: number): CommonParameters {
  return {
    partial: values.map('partial', (name, text) => parseChoice(name, text, ['warn', 'refuse'])) ?? 'warn',
    deadlineMs: values.map('deadline', readDeadlineMs) ?? deadlineMsDefault,
    explain: values.map('explain', parseFlag) ?? false,
  };
}

function readDeadlineMs(name: string, text: string): number {
  const nano = parseDuration(name, text);
  if (nano < BigInt(DEADLINE_MS_MIN) * NANOS_PER_MS || nano > BigInt(DEADLINE_MS_MAX) * NANOS_PER_MS) {
    throw invalid(name, text, 'between 10ms and 60s');
  }
  return unixNanoToMs(nano);
}
