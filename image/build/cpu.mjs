// Prints the name of an architecture's processor in Node.js and npm: cpu.mjs ARCH, as in platform.mjs.
import { CPUS } from "./platform.mjs";

const [arch] = process.argv.slice(2);
if (!(arch in CPUS)) throw new Error(`unknown architecture ${arch}`);
console.log(CPUS[arch]);
