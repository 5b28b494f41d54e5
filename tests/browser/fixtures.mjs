/** The projects, and what the tests edit in each: a sentence in a component, and an image that the page imports. */
export const fixtures = [
  {
    name: 'react-vite',
    file: 'src/components/Headline.jsx',
    shows: 'Quiet water tonight',
    image: 'src/assets/harbour.png',
  },
  {
    name: 'vue-vite',
    file: 'src/components/Headline.vue',
    shows: 'What grows by the path',
    image: 'src/assets/meadow.png',
  },
]
