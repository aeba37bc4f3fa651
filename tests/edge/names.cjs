// Preloaded into Node programs: names that end with .test are found on this machine.
const dns = require("node:dns");

const { lookup } = dns;
dns.lookup = (name, ...rest) =>
  lookup(name.endsWith(".test") ? "127.0.0.1" : name, ...rest);
