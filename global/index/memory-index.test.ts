import { MemoryTraceIndex } from './memory-index.js';
import { HOME, traceIndexContract } from './trace-index.contract.js';

traceIndexContract('memory', async () => new MemoryTraceIndex(HOME));
