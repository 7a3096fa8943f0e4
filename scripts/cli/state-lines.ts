import type { ProcessState } from '../fleet/managed-process.js';
import { styled, type Terminal } from './terminal.js';

/** `07:15:03 us-east-1 region up (process 4711, after 1.2 s)`: what the fleet prints of each change. */
export function stateLine(terminal: Terminal, name: string, state: ProcessState): string {
  switch (state.state) {
    case 'up':
      return `${timeOfDay()} ${name} ${styled(terminal, 'green', 'up')} (process ${state.pid}, after ${(state.afterMs / 1000).toFixed(1)} s)`;
    case 'stopped':
      return `${timeOfDay()} ${name} ${styled(terminal, 'yellow', 'stopped')}`;
    case 'died':
      return `${timeOfDay()} ${name} ${styled(terminal, 'red', 'died')} (${state.how}), restarting in ${state.restartInMs} ms`;
    case 'failed':
      return `${timeOfDay()} ${name} ${styled(terminal, 'red', 'failed')}: ${state.message}`;
  }
}

/** Of now, or of a time in Unix milliseconds, in the time zone of this machine: `07:15:03`. */
export function timeOfDay(unixMs: number = Date.now()): string {
  return new Date(unixMs).toTimeString().slice(0, 8);
}
