import { defineConfig } from 'vite'

// What is built is committed and shipped inside the binary: plain names, and the same bytes from the same sources.
export default defineConfig({
  base: './',
  publicDir: 'public',
  build: {
    outDir: process.env.CONSOLE_OUT ?? 'dist',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: false,
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2000,
    rollupOptions: {
      output: {
        entryFileNames: 'assets/console.js',
        assetFileNames: 'assets/console[extname]',
        codeSplitting: false,
      },
    },
  },
})
